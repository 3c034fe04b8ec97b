import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentsOf } from './support/contents.ts';
import { runCli } from './support/cli.ts';
import { startServer } from './support/servers.ts';
import type { TestServer } from './support/servers.ts';

/** Seconds of work; `PGSLUICE_TEST_WORK_SECONDS=60` repeats it as long as the limits of a free tier were promised to last. */
const workSeconds = Number(process.env['PGSLUICE_TEST_WORK_SECONDS'] ?? 9);

let source: TestServer;
let target: TestServer;

beforeAll(async () => {
  [source, target] = await Promise.all([startServer({ name: 'tight-source' }), startServer({ name: 'tight-target' })]);
});

afterAll(async () => {
  await Promise.all([source?.stop(), target?.stop()]);
});

test(`two connections and an idle_in_transaction_session_timeout of 3 s outlast ${workSeconds} s of work`, async () => {
  // Each row costs the target 10 ms, while the source's snapshot waits.
  await source.createDatabase('tight');
  await source.run(
    `CREATE FUNCTION slow(i int) RETURNS boolean LANGUAGE plpgsql AS $$
       BEGIN IF current_setting('test.slow', true) = 'yes' THEN PERFORM pg_sleep(0.01); END IF; RETURN true; END $$;
     CREATE TABLE a (id int PRIMARY KEY, CHECK (slow(id)));
     CREATE TABLE b (id int PRIMARY KEY REFERENCES a, note text);
     INSERT INTO a SELECT generate_series(1, ${workSeconds * 100});
     INSERT INTO b SELECT id, 'note ' || id FROM a;
     CREATE ROLE tight LOGIN PASSWORD 'tight' CONNECTION LIMIT 2;
     ALTER ROLE tight SET idle_in_transaction_session_timeout = '3s';
     GRANT SELECT ON ALL TABLES IN SCHEMA public TO tight`,
    'tight',
  );
  await target.createDatabase('tight');
  await target.run(`ALTER DATABASE tight SET test.slow = 'yes'; CREATE ROLE tight`);
  const outcome = await runCli(['clone', '--json'], {
    env: { PGSLUICE_SOURCE_URL: source.url('tight', 'tight', 'tight'), PGSLUICE_TARGET_URL: target.url('tight') },
  });
  expect(outcome.result).toMatchObject({ status: 'completed', verified: true, differences: [], error: null });
  expect(outcome.code).toBe(0);
  expect(outcome.seconds).toBeGreaterThan(workSeconds);
  expect(await contentsOf(target, 'tight')).toEqual(await contentsOf(source, 'tight'));
});
