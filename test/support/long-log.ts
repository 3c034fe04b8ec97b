import pino from 'pino';
import { JobManager } from '../../src/jobs/manager.ts';
import { JobRequest } from '../../src/contract/options.ts';
import { defaultRooms } from '../../src/jobs/default-rooms.ts';
import { fillState } from './fresh-state.ts';

/**
 * Fills a state directory with one ended job that has `lines` log lines, written through the job manager itself: its
 * validation is replaced by one that only talks. Answers the job's id.
 */
export async function writeLongLog(state: string, lines: number): Promise<string> {
  await fillState(state);
  const manager = await JobManager.open(
    { state, secretKey: null, concurrency: 1, pgBinDir: null, logger: pino({ level: 'silent' }), role: 'foreground' },
    {
      ...defaultRooms(false),
      createClone: (input) => {
        for (let line = 1; line <= lines; line += 1) {
          input.emit({
            type: 'log',
            level: line % 97 === 0 ? 'warn' : 'info',
            message: `line ${line}: copied some rows of public.table_${line % 400}`,
          });
        }
        throw new Error('the job ends here');
      },
      validate: async () => ({
        checks: [],
        method: 'copy',
        methodReason: 'Asked for.',
        blocked: false,
        error: null,
        facts: {
          source: {
            version: { num: 150000, major: 15, text: '15.0', full: 'PostgreSQL 15.0' },
            connectionsAvailable: 4,
          },
          target: {
            version: { num: 150000, major: 15, text: '15.0', full: 'PostgreSQL 15.0' },
            connectionsAvailable: 4,
          },
          tools: { dir: '/', pgDump: 'pg_dump', pgRestore: 'pg_restore', major: 15, version: '15.0' },
        },
      }),
    },
  );
  try {
    const job = await manager.create(
      JobRequest.parse({
        name: 'a long log',
        source: { url: 'postgres://a@127.0.0.1:1/a' },
        target: { url: 'postgres://a@127.0.0.1:1/b' },
        start: true,
      }),
    );
    await manager.waitUntilSettled(job.id);
    return job.id;
  } finally {
    await manager.stop('The log is written.');
  }
}
