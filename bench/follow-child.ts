import { PauseGate } from '../src/gate.ts';
import { Follower } from '../src/live/follower.ts';
import { parseLsn } from '../src/postgres/lsn.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';

/** What the bench asks of one follower in a process of its own; one JSON argument. */
export interface FollowTask {
  readonly job: string;
  readonly sourceUrl: string;
  readonly targetUrl: string;
  readonly slot: string;
  readonly publication: string;
  readonly sourceMajor: number;
  readonly workDir: string;
  /** Position to come to. */
  readonly until: string;
}

const task = JSON.parse(process.argv[2] ?? '{}') as FollowTask;
const abort = new AbortController();
const follower = new Follower({
  job: task.job,
  source: parseEndpoint({ url: task.sourceUrl }, 'source'),
  target: parseEndpoint({ url: task.targetUrl }, 'target'),
  slot: task.slot,
  publication: task.publication,
  sourceMajor: task.sourceMajor,
  workDir: task.workDir,
  gate: new PauseGate(),
  signal: abort.signal,
  log: (level, message) => {
    if (level === 'warn') process.stderr.write(`${message}\n`);
  },
});
const started = performance.now();
const run = follower.run();
await Promise.race([follower.drainTo(parseLsn(task.until), abort.signal), run]);
const seconds = (performance.now() - started) / 1000;
process.stdout.write(`${JSON.stringify({ seconds, counts: follower.counts, ordered: follower.orderedBatches })}\n`);
abort.abort();
await run.catch(() => undefined);
