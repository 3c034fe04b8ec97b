import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { every, slice } from './support/long.ts';
import { runCli } from './support/cli.ts';
import { startServer } from './support/servers.ts';
import type { TestServer } from './support/servers.ts';

let source: TestServer;
let target: TestServer;
/** One state directory for all: every one of these commands leaves it unheld. */
let state: string;
let oldTools: string;
/** Answers like a web server. */
const stranger = createServer((socket) => {
  socket.on('error', () => socket.destroy());
  socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
});

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'pgsluice-test-state-'));
  [source, target] = await Promise.all([
    startServer({ name: 'bad-source', hba: ['hostnossl secure all all reject'] }),
    startServer({ name: 'bad-target' }),
  ]);
  await source.createDatabase('shop');
  await source.run(
    `CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items SELECT generate_series(1, 100000);
     CREATE TABLE secret (id int);
     CREATE TABLE mine (id int, owner text); ALTER TABLE mine ENABLE ROW LEVEL SECURITY;
     CREATE ROLE reader LOGIN PASSWORD 'reader'; GRANT SELECT ON items, mine TO reader;
     CREATE ROLE shut LOGIN PASSWORD 'shut' CONNECTION LIMIT 0; GRANT SELECT ON ALL TABLES IN SCHEMA public TO shut`,
    'shop',
  );
  await source.createDatabase('extended');
  // Registered under a name that no server knows: what a source looks like whose extension the target does not have.
  await source.run(
    `CREATE EXTENSION citext; UPDATE pg_extension SET extname = 'not_to_be_had' WHERE extname = 'citext'`,
    'extended',
  );
  await target.run('CREATE ROLE reader; CREATE ROLE shut');
  await target.createDatabase('empty');
  await target.createDatabase('filled');
  await target.run('CREATE TABLE in_the_way (id int)', 'filled');
  await target.createDatabase('frozen');
  await target.run(`ALTER DATABASE frozen SET default_transaction_read_only = on`);
  oldTools = await mkdtemp(join(tmpdir(), 'pgsluice-test-old-tools-'));
  for (const name of ['pg_dump', 'pg_restore']) {
    await writeFile(join(oldTools, name), `#!/bin/sh\necho "${name} (PostgreSQL) 9.6.24"\n`);
    await chmod(join(oldTools, name), 0o755);
  }
  await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve));
});

afterAll(async () => {
  stranger.close();
  await Promise.all([source?.stop(), target?.stop()]);
  await rm(state, { recursive: true, force: true });
  await rm(oldTools, { recursive: true, force: true });
});

interface BadInput {
  readonly code: string;
  readonly exit?: 2 | 3;
  readonly source?: () => string;
  readonly target?: () => string;
  readonly args?: readonly string[];
  readonly env?: () => Record<string, string>;
}

const as = (role: string, password = role): string => source.url('shop', role, password);
const noOwner = ['--no-owner', '--no-acl'];
const strangerPort = (): number => (stranger.address() as AddressInfo).port;

const cases: Record<string, BadInput> = {
  'a URL that is none': { code: 'INVALID_URL', exit: 2, source: () => 'postgres://[bad' },
  'another scheme': { code: 'INVALID_URL', exit: 2, source: () => 'mysql://a@b/c' },
  'no source': { code: 'SOURCE_MISSING', exit: 2, source: () => '' },
  'an unknown host': { code: 'UNKNOWN_HOST', source: () => 'postgres://u:p@no-such-host.invalid/x' },
  'a closed port': { code: 'CONNECTION_REFUSED', target: () => 'postgres://u:p@127.0.0.1:1/x' },
  'a port that is not PostgreSQL': {
    code: 'NOT_POSTGRESQL',
    source: () => `postgres://u:p@127.0.0.1:${strangerPort()}/x`,
  },
  'a wrong password': { code: 'AUTHENTICATION_FAILED', source: () => as('reader', 'wrong') },
  'an unknown database': { code: 'UNKNOWN_DATABASE', target: () => target.url('nowhere') },
  'TLS wanted, server without': { code: 'TLS_REFUSED', target: () => `${target.url('empty')}?sslmode=require` },
  'source and target the same': { code: 'SAME_DATABASE', target: () => source.url('shop') },
  'a target with contents': { code: 'TARGET_NOT_EMPTY', target: () => target.url('filled') },
  'a read-only target': { code: 'TARGET_READ_ONLY', target: () => target.url('frozen') },
  'an extension the target does not have': {
    code: 'EXTENSION_UNAVAILABLE',
    source: () => source.url('extended'),
    target: () => target.url('empty'),
  },
  'no SELECT on one table': {
    code: 'MISSING_SELECT',
    source: () => as('reader'),
    args: [...noOwner, '--exclude-table', 'mine'],
  },
  'row-level security that hides rows': {
    code: 'ROW_SECURITY_HIDES_ROWS',
    source: () => as('reader'),
    args: [...noOwner, '--exclude-table', 'secret'],
  },
  'a CONNECTION LIMIT that lets nobody in': { code: 'TOO_MANY_CONNECTIONS', source: () => as('shut') },
  'a disk declared too small': { code: 'TARGET_DISK_TOO_SMALL', args: ['--target-disk', '1MB'] },
  'pg_dump absent': { code: 'PG_TOOLS_MISSING', env: () => ({ PGSLUICE_PG_BIN: join(tmpdir(), 'no-such-folder') }) },
  'pg_dump too old': { code: 'PG_TOOLS_TOO_OLD', env: () => ({ PGSLUICE_PG_BIN: oldTools }) },
};

test.each(slice(Object.entries(cases), every(2)))('%s: stopped before the target is touched', async (_, input) => {
  const before = await Promise.all(['empty', 'filled', 'frozen'].map((database) => target.dumpSchema(database)));
  const outcome = await runCli(['clone', '--json', ...(input.args ?? [])], {
    state,
    env: {
      PGSLUICE_SOURCE_URL: input.source?.() ?? source.url('shop'),
      PGSLUICE_TARGET_URL: input.target?.() ?? target.url('empty'),
      ...input.env?.(),
    },
  });
  expect(outcome.result?.error).toMatchObject({ code: input.code });
  expect(outcome.result?.error?.hint).not.toBe('');
  expect(outcome.code).toBe(input.exit ?? 3);
  expect(outcome.stdout + outcome.stderr).not.toContain(source.password);
  expect(outcome.stdout + outcome.stderr).not.toMatch(/^\s+at .*\(.*:\d+:\d+\)$/m);
  expect(await Promise.all(['empty', 'filled', 'frozen'].map((database) => target.dumpSchema(database)))).toEqual(
    before,
  );
  expect(await target.sessions()).toEqual([]);
});
