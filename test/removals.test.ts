import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import PQueue from 'p-queue';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { JobOptions } from '../src/contract/options.ts';
import { type Archive, dumpArchive } from '../src/postgres/archive.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { type PgTools, findPgTools, libpqEnvironment, runTool } from '../src/postgres/tools.ts';
import { verifyDatabases } from '../src/verify/verify.ts';
import { everythingKinds, kindsOfDatabase, largeObjectKinds, loadEverything } from './fixtures/everything.ts';
import { type Removal, inseparable, removals } from './fixtures/everything-removals.ts';
import { type CliOutcome, runCli } from './support/cli.ts';
import { every, slice } from './support/long.ts';
import { type TestServer, pgDumpFor, startServer } from './support/servers.ts';

const exec = promisify(execFile);
const workDir = join(tmpdir(), `pgsluice-removals-${process.pid}`);
const never = new AbortController().signal;
const options = JobOptions.parse({});
const byName = { source: 'every "kind"', clone: 'every clone' };

/** One clone, and for each removal a copy of it made by the server: each stands alone, at a tenth of a second. */
describe.concurrent('verification of a clone from which one object was taken away', () => {
  /** Two comparisons at once are what two cores carry. */
  const queue = new PQueue({ concurrency: 2 });
  let server: TestServer;
  let tools: PgTools;
  let archive: Archive;
  let cloned: CliOutcome;
  /** What CREATE DATABASE does not copy: subscriptions stand in a catalogue of the whole server. */
  let subscription = '';
  let copies = 0;

  beforeAll(async () => {
    server = await startServer({ name: 'removals' });
    tools = await findPgTools({
      binDir: dirname(await pgDumpFor(server.major, server.binDir)),
      minMajor: server.major,
    });
    await loadEverything(server, byName.source);
    await server.createDatabase(byName.clone, `TEMPLATE template0 ENCODING 'UTF8'`);
    cloned = await runCli(['clone', '--json'], { env: endpoints(byName.clone), pgBin: tools.dir });
    archive = await dumpArchive({
      tools,
      settings: parseEndpoint({ url: server.url(byName.source) }, 'source'),
      snapshotId: null,
      filter: options,
      noOwner: false,
      noAcl: false,
      workDir,
      signal: never,
    });
    subscription = archive.entries
      .filter((entry) => entry.type === 'SUBSCRIPTION' || entry.name.startsWith('SUBSCRIPTION '))
      .flatMap((entry) => entry.statements)
      .join('\n');
  });
  afterAll(async () => {
    await server.stop();
    await rm(workDir, { recursive: true, force: true });
  });

  function endpoints(target: string): Record<string, string> {
    return { PGSLUICE_SOURCE_URL: server.url(byName.source), PGSLUICE_TARGET_URL: server.url(target) };
  }

  /** Hands `work` a copy of the clone on which `sql` was run. */
  function onCopy<T>(sql: string, work: (database: string) => Promise<T>): Promise<T> {
    return queue.add(async () => {
      const database = `copy ${(copies += 1)}`;
      await server.createDatabase(database, `TEMPLATE "${byName.clone}"`);
      try {
        await server.run(subscription, database);
        await server.run(sql, database);
        return await work(database);
      } finally {
        await server.run('DROP SUBSCRIPTION IF EXISTS ev_sub', database);
        await server.run(`DROP DATABASE "${database}"`);
      }
    });
  }

  /** What verification says about the copy, as `KIND name`, and what it could not decide. */
  async function differences(database: string): Promise<string[]> {
    const result = await verifyDatabases({
      source: parseEndpoint({ url: server.url(byName.source) }, 'source'),
      target: parseEndpoint({ url: server.url(database) }, 'target'),
      snapshot: null,
      connections: { source: 2, target: 2 },
      options,
      mode: 'full',
      tools,
      sourceArchive: archive,
      workDir,
      signal: never,
      emit: () => undefined,
    });
    expect(result.verified).toBe(result.differences.length === 0);
    return result.differences.map((one) => `${one.kind} ${one.name}`).toSorted();
  }

  it('finds nothing where nothing was taken', async () => {
    expect([cloned.code, cloned.result?.verified, cloned.result?.differences]).toEqual([0, true, []]);
    expect(subscription).toContain('CREATE SUBSCRIPTION');
    expect(await onCopy('', differences)).toEqual([]);
  });

  // Each third here; what is there to be removed is counted below in any case.
  const cases = slice(removals, every(3)).map((removal) => [`${removal.kind} ${removal.name}`, removal] as const);
  it.each(cases)('names %s, and nothing that stayed', async (_, removal) => {
    expect(await onCopy(removal.sql, differences)).toEqual(expected(removal));
  });

  it('ends the command line with 4, and names the object', async () => {
    const [removal] = removals;
    if (removal === undefined) throw new Error('there are no removals');
    const { code, result } = await onCopy(removal.sql, (database) =>
      runCli(['verify', '--json'], { env: endpoints(database), pgBin: tools.dir }),
    );
    expect(code).toBe(4);
    expect(result?.verified).toBe(false);
    expect(result?.differences.map((one) => `${one.kind} ${one.name} ${one.change}`)).toEqual([
      `${removal.kind} ${removal.name} missing`,
    ]);
  });

  it('finds one byte changed in one row', async () => {
    const sql = `UPDATE ev.texts SET d = set_byte(d, 0, get_byte(d, 0) # 1) WHERE id = (SELECT min(id) FROM ev.texts WHERE length(d) > 0)`;
    expect(await onCopy(sql, differences)).toEqual(['CONTENT ev.texts']);
  });

  it('has every kind that pg_dump writes, and a removal for each', async () => {
    const file = join(workDir, 'everything.dump');
    await runTool({
      command: tools.pgDump,
      args: ['--format=custom', '--compress=0', `--file=${file}`],
      env: libpqEnvironment(parseEndpoint({ url: server.url(byName.source) }, 'source')),
      signal: never,
    });
    const { stdout } = await exec(tools.pgRestore, ['--list', '--create', file], { maxBuffer: 1 << 24 });
    const listed = kindsListed(stdout).filter((kind) => !(kind in kindsOfDatabase));
    const known = [...everythingKinds, ...largeObjectKinds(tools.major)];
    expect(listed).toEqual(known.toSorted());
    // Both words mean the same objects.
    const removed = new Set(removals.map(({ kind }) => (kind === 'BLOB' ? largeObjectKinds(tools.major)[0] : kind)));
    expect(known.filter((kind) => !removed.has(kind) && !(kind in inseparable))).toEqual([]);
    expect([...removed].filter((kind) => kind === undefined || !known.includes(kind))).toEqual([]);
  });
});

function expected({ kind, name, found, also }: Removal): string[] {
  return [`${found ?? kind} ${name}`, ...(also ?? [])].toSorted();
}

/** The words of `pg_restore --list`: `123; 1259 16384 TABLE schema name owner`, schema being `-` where there is none. */
function kindsListed(list: string): string[] {
  const kinds = list.split('\n').flatMap((line) => /^\d+; \d+ \d+ ([A-Z]+(?: [A-Z]+)*) /.exec(line)?.[1] ?? []);
  return [...new Set(kinds)].toSorted();
}
