import type { Logger } from 'pino';
import type { ErrorReport } from '../errors.ts';
import { deadAgents, forgetAgents } from '../store/agent-queries.ts';
import { interruptedJobs, type JobRow, takeInterrupted } from '../store/job-queries.ts';
import type { Store } from '../store/store.ts';
import { describeTarget } from './job-summary.ts';
import { noArchiveWords } from './job-summary-archive.ts';
import { isHandedOver, isStanding } from './live-hand.ts';
import type { JobWriter } from './job-writer.ts';
import { interruptedWords } from './run-words.ts';
import { isWorking, workingStates } from './transitions.ts';

export interface Interruption {
  readonly store: Store;
  readonly logger: Logger;
  /** Agents that are known to be dead. */
  readonly dead: readonly string[];
  /** True for a job that this process works on. */
  inHand(id: string): boolean;
  writerFor(row: JobRow): JobWriter;
}

/**
 * Jobs that an agent held when it died become `paused` (a failed one loses its snapshot and stays failed), with a line in their log.
 * Several agents may look at once; each job is taken by one.
 */
export async function markInterrupted(input: Interruption): Promise<void> {
  const { store, logger } = input;
  const suspects = { ownId: store.agentId, deadAgents: input.dead, working: workingStates };
  for (const row of await interruptedJobs(store.db, suspects)) {
    if (input.inHand(row.id) || !(await takeInterrupted(store.db, row, store.agentId))) continue;
    logger.warn({ job: row.id, state: row.state }, 'found an interrupted job');
    const writer = input.writerFor(row);
    try {
      await tell(writer, row);
    } finally {
      await writer.close();
    }
  }
  await forgetAgents(store.db, input.dead);
}

async function tell(writer: JobWriter, row: JobRow): Promise<void> {
  const gone = 'The agent that worked on this job ended without stopping it.';
  if (row.state === 'failed') {
    const what = row.live === null ? 'snapshot is gone' : 'slot is given up';
    writer.say('warn', `${gone} Its ${what}; a retry copies everything anew.`);
    return;
  }
  const words = `${gone} ${interruptedWords(row.live, row.kind)}`;
  if (isWorking(row.state)) await writer.move('paused', words);
  if (isWorking(row.state) || row.state === 'paused') {
    writer.say('warn', isStanding(row.live) || isHandedOver(row.live) ? words : `${words} ${targetWords(row)}`);
  }
}

function targetWords(row: JobRow): string {
  if (row.kind === 'export') return noArchiveWords;
  const { tables, tablesDone } = row.totals;
  return describeTarget({ ...row, tablesCopied: tablesDone, tables, schemaOnly: row.options.schemaOnly });
}

/** A job that was to go on by itself stays paused until a person has acted on `error`. */
export async function stayPaused(writer: JobWriter, { code, message, hint }: ErrorReport): Promise<void> {
  try {
    await writer.patch({ goesOn: false, error: { code, message, hint } });
    writer.say('error', `The job stays paused: ${message} ${hint}`);
  } finally {
    await writer.close();
  }
}

/** Agents that are dead by now; when the store is embedded there are no others. */
export async function findDead(store: Store): Promise<string[]> {
  return store.kind === 'embedded' ? [] : await deadAgents(store.db, store.agentId);
}
