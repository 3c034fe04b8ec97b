import { stdout } from 'node:process';
import pino from 'pino';
import { JobOptions } from '../../src/contract/options.ts';
import { JobManager } from '../../src/jobs/manager.ts';
import { fakeRooms } from './fake-rooms.ts';

// An agent that runs one endless job until it is killed; prints the job's id once it has written events.
const [state = '', secretKey = ''] = process.argv.slice(2);
const manager = await JobManager.open(
  {
    state,
    secretKey: secretKey === '' ? null : secretKey,
    concurrency: 1,
    pgBinDir: null,
    logger: pino({ level: 'silent' }),
    role: 'daemon',
  },
  fakeRooms({ tables: 100_000, tableMs: 1 }),
);
const job = await manager.create({
  kind: 'move',
  source: { url: 'postgres://u:p@localhost/a' },
  target: { url: 'postgres://u:p@localhost/b' },
  options: JobOptions.parse({}),
  start: true,
});
while ((await manager.get(job.id)).lastSeq < 100) await new Promise((resolve) => setTimeout(resolve, 20));
stdout.write(`${job.id}\n`);
