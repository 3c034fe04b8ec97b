import { PgsluiceError } from '../errors.ts';
import { describeAgent } from '../store/agent-queries.ts';
import type { StateDatabase } from '../store/database.ts';
import type { JobRow } from '../store/job-queries.ts';

export function runningError(): PgsluiceError {
  return new PgsluiceError({
    code: 'JOB_RUNNING',
    message: 'The job is running.',
    hint: 'Cancel it first, or wait for its end.',
  });
}

export function jobNotFound(id: string): PgsluiceError {
  return new PgsluiceError({
    code: 'JOB_NOT_FOUND',
    message: `There is no job ${id}.`,
    hint: 'List the jobs with: pgsluice jobs',
  });
}

export function reportNotReady(): PgsluiceError {
  return new PgsluiceError({
    code: 'REPORT_NOT_READY',
    message: 'There is no report yet: no run of this job has come to an end.',
    hint: 'Wait for the end of the job.',
    retryable: true,
  });
}

export function agentStopping(): PgsluiceError {
  return new PgsluiceError({
    code: 'AGENT_STOPPING',
    message: 'The agent is stopping and takes no more orders.',
    hint: 'Start it again, then repeat the request.',
    retryable: true,
  });
}

/** The agent that has the job is asked for by name. */
export async function heldElsewhere(db: StateDatabase, row: Pick<JobRow, 'ownerId'>): Promise<PgsluiceError> {
  const holder = row.ownerId === null ? 'another agent' : await describeAgent(db, row.ownerId);
  return new PgsluiceError({
    code: 'JOB_HELD_ELSEWHERE',
    message: `This job is in the hands of ${holder}.`,
    hint: 'Ask that agent, or wait until it has ended.',
    retryable: true,
  });
}
