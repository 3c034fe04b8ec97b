import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli } from './support/cli.ts';
import { slice } from './support/long.ts';
import { startServer } from './support/servers.ts';
import type { TestServer } from './support/servers.ts';

let source: TestServer;
let target: TestServer;

/** Every phase takes long enough to be interrupted: a slow index expression, a slow check, a slow view, many rows. */
const slow = `
  CREATE FUNCTION slow(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.004); RETURN i; END $$;
  CREATE TABLE parent (id int PRIMARY KEY, filler text);
  CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent, filler text);
  INSERT INTO parent SELECT i, repeat('x', 300) FROM generate_series(1, 100000) i;
  INSERT INTO child SELECT i, i, repeat('y', 300) FROM generate_series(1, 100000) i;
  CREATE TABLE indexed (id int);
  INSERT INTO indexed SELECT generate_series(1, 700);
  CREATE INDEX indexed_slowly ON indexed (slow(id));
  CREATE SEQUENCE counter;
  CREATE MATERIALIZED VIEW slowly AS SELECT count(*) FROM (SELECT slow(id) FROM indexed OFFSET 0) s;`;

beforeAll(async () => {
  [source, target] = await Promise.all([startServer({ name: 'stop-source' }), startServer({ name: 'stop-target' })]);
  await source.createDatabase('app');
  await source.run(slow, 'app');
});

afterAll(async () => {
  await Promise.all([source?.stop(), target?.stop()]);
});

const phases = ['validate', 'schema', 'copy', 'indexes', 'constraints', 'sequences', 'analyze', 'verify'];

test.each(slice(phases, (phase) => ['copy', 'indexes', 'verify'].includes(phase)))(
  'Ctrl-C in phase %s: no session is left within 5 s, and the log says what the target holds',
  async (phase) => {
    const database = `stopped_in_${phase}`;
    await target.createDatabase(database);
    let interruptedAt = 0;
    const outcome = await runCli(['clone', '--json', '--table-jobs', '2'], {
      env: { PGSLUICE_SOURCE_URL: source.url('app'), PGSLUICE_TARGET_URL: target.url(database) },
      onEvent: (event, kill) => {
        if (event.type === 'phase' && event.phase === phase && event.status === 'started' && interruptedAt === 0) {
          interruptedAt = Date.now();
          kill('SIGINT');
        }
      },
    });
    const seconds = (Date.now() - interruptedAt) / 1000;
    expect(await source.sessions()).toEqual([]);
    expect(await target.sessions()).toEqual([]);
    expect(outcome.result).toMatchObject({ status: 'cancelled', verified: false, error: null });
    expect(outcome.code).toBe(130);
    expect(seconds).toBeLessThan(5);
    const logs = outcome.events.flatMap((event) => (event.type === 'log' ? [event.message] : [])).join('\n');
    expect(logs).toMatch(/[Tt]he target (holds|was not touched|is unchanged)/);
    // The source is as usable as before: nothing of ours holds a lock.
    await source.run(`SET lock_timeout = '1s'; LOCK TABLE parent, child, indexed IN ACCESS EXCLUSIVE MODE`, 'app');
  },
);
