import { streamTransfer, transferCopy } from '../src/clone/transfer.ts';
import { PauseGate } from '../src/gate.ts';
import { openSession } from '../src/postgres/session.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';

/** What the bench asks of one agent that copies one table in a process of its own; one JSON argument. */
export interface PathTask {
  /** From socket to socket, or by pg-copy-streams, to which the product falls back. */
  readonly way: 'wire' | 'streams';
  readonly sourceUrl: string;
  readonly targetUrl: string;
  readonly copyOut: string;
  readonly copyIn: string;
}

/** Its answer, the last line it writes. */
export interface PathCopied {
  readonly seconds: number;
  /** CPU seconds of all threads while rows moved: what starting Node costs is not the path's. */
  readonly cpu: number;
  readonly bytes: number;
  readonly rows: number;
  readonly encrypted: boolean;
}

const task = JSON.parse(process.argv[2] ?? '{}') as PathTask;
const { signal } = new AbortController();
const source = await openSession(parseEndpoint({ url: task.sourceUrl }, 'source'), {
  signal,
  side: 'source',
  purpose: 'copy',
  readOnly: true,
});
const target = await openSession(parseEndpoint({ url: task.targetUrl }, 'target'), {
  signal,
  side: 'target',
  purpose: 'copy',
});
let told = 0;
const before = process.cpuUsage();
const started = performance.now();
const { rows, bytes } = await (task.way === 'wire' ? transferCopy : streamTransfer)({
  source,
  copyOut: task.copyOut,
  target,
  copyIn: task.copyIn,
  format: 'binary',
  gate: new PauseGate(),
  onProgress: (passed) => {
    told = passed;
  },
});
const seconds = (performance.now() - started) / 1000;
const { user, system } = process.cpuUsage(before);
if (told > bytes || told === 0) throw new Error(`${told} bytes were told of ${bytes}.`);
const encrypted = source.encrypted && target.encrypted;
const copied: PathCopied = { seconds, cpu: (user + system) / 1e6, bytes, rows, encrypted };
await Promise.all([source.close(), target.close()]);
process.stdout.write(`${JSON.stringify(copied)}\n`);
