import { createInterface } from 'node:readline';
import { stdin, stdout } from 'node:process';
import pino from 'pino';
import { JobRequest } from '../../src/contract/options.ts';
import { JobManager } from '../../src/jobs/manager.ts';
import { startServer } from '../../src/server/server.ts';
import { fakeRooms } from './fake-rooms.ts';

// An agent with many jobs that only talk. Prints where it is as one line of JSON, then a line with its memory for every line it reads.
const [state = '', jobs = '1', tables = '1', lines = '1'] = process.argv.slice(2);
const logger = pino({ level: 'silent' });
const manager = await JobManager.open(
  { state, secretKey: 'a key that is long enough', concurrency: Number(jobs), pgBinDir: null, logger, role: 'daemon' },
  fakeRooms({ tables: Number(tables), linesPerTable: Number(lines), tableMs: 20 }),
);
const token = 'token-of-the-load-test-0123456789';
const server = await startServer({
  manager,
  token,
  webDir: '/nonexistent',
  version: '0.0.0',
  logger,
  host: '127.0.0.1',
  port: 0,
});
const ids: string[] = [];
for (let n = 0; n < Number(jobs); n += 1) {
  const endpoint = (database: string) => ({ url: `postgres://u:p@localhost/${database}` });
  const { id } = await manager.create(
    JobRequest.parse({ kind: 'move', source: endpoint('a'), target: endpoint(`b${n}`), options: {} }),
  );
  ids.push(id);
}
stdout.write(`${JSON.stringify({ url: server.url, token, ids })}\n`);
for await (const _ of createInterface({ input: stdin })) {
  const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
  stdout.write(`${JSON.stringify({ rss, heapUsed, arrayBuffers, pending: manager.metrics().eventsPending })}\n`);
}
