import type { JobEvent, ResultEvent, StreamMessage } from '../contract/event.ts';
import type { JobManager } from '../jobs/manager.ts';

export interface WatchInput {
  readonly manager: Pick<JobManager, 'stream'>;
  readonly id: string;
  readonly write: (line: string) => void;
  /** When it fires, watching ends; the job itself is stopped by whoever stops the manager. */
  readonly signal: AbortSignal;
  /** ms since the epoch. */
  readonly now?: () => number;
}

/** Progress lines are for reading: one every two seconds is enough. */
const metricEveryMs = 2000;

/** Prints the job's events as lines until its result has come; answers the exit code. */
export async function watchJob(input: WatchInput): Promise<number> {
  const now = input.now ?? Date.now;
  let lastMetric = 0;
  let copying = false;
  for await (const batch of input.manager.stream(input.id, 0, input.signal)) {
    for (const message of batch) {
      if (message.type === 'phase' && message.phase === 'copy') copying = message.status === 'started';
      if (message.type === 'metric') {
        if (!copying || now() - lastMetric < metricEveryMs) continue;
        lastMetric = now();
      }
      const line = progressLine(message);
      if (line !== null) input.write(line);
      if (message.type === 'result') {
        for (const text of resultLines(message)) input.write(text);
        return exitCode(message);
      }
    }
  }
  return input.signal.aborted ? 130 : 1;
}

/** What a person reads of one event, or null for those that only the page shows. Pure. */
export function progressLine(event: StreamMessage | JobEvent): string | null {
  switch (event.type) {
    case 'phase':
      return event.status === 'finished'
        ? `  ${event.phase}: done in ${(event.seconds ?? 0).toFixed(1)} s${event.detail === '' ? '' : `, ${event.detail}`}`
        : null;
    case 'metric':
      if (event.rows === 0) return null;
      return `  copying: ${Math.floor(event.fraction * 100)} %, ${event.tablesDone} of ${event.tables} tables, ${count(event.rows)} rows, ${megabytes(event.bytesPerSecond)}/s`;
    case 'check':
      return event.check.outcome === 'failed' || event.check.outcome === 'warned'
        ? `  ${event.check.outcome === 'failed' ? 'BLOCKED' : 'note'}: ${event.check.title} ${event.check.found}`
        : null;
    case 'log':
      return event.level === 'error' || event.level === 'warn' ? `  ${event.level}: ${event.message}` : null;
    case 'table':
      return event.table.state === 'failed'
        ? `  failed: ${event.table.schema}.${event.table.name}: ${event.table.error?.message ?? 'unknown'}`
        : null;
    case 'state':
    case 'index':
    case 'result':
    case 'reset':
    default:
      return null;
  }
}

/** The last words. Pure. */
export function resultLines(result: ResultEvent): string[] {
  if (result.status === 'completed' && result.verified) {
    return [
      `verified: ${result.tables} tables, ${count(result.rows)} rows, 0 differences in ${result.seconds.toFixed(1)} s`,
    ];
  }
  const lines = result.differences.map((difference) => `  ${difference.change}: ${difference.kind} ${difference.name}`);
  if (result.error !== null) lines.push(`${result.error.message} ${result.error.hint}`);
  if (result.status === 'completed') return [...lines, `not verified: ${result.differences.length} differences`];
  return [...lines, `${result.status} after ${result.seconds.toFixed(1)} s`];
}

/** Exit codes of the contract. A finished copy that differs says so however its job ended. */
export function exitCode(result: ResultEvent): number {
  if (result.status === 'completed') return result.verified ? 0 : 4;
  if (result.status === 'failed') return result.differences.length > 0 ? 4 : 1;
  return result.status === 'blocked' ? 3 : 130;
}

function count(n: number): string {
  return n.toLocaleString('en-US');
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}
