import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { slice } from './support/long.ts';
import type { CheckResult } from '../src/contract/check.ts';
import type { Difference } from '../src/contract/report.ts';
import { everythingRoles, loadEverything } from './fixtures/everything.ts';
import { type CliOutcome, runCli } from './support/cli.ts';
import { contentsOf } from './support/contents.ts';
import { findMajor, pgDumpFor, startServer, type TestServer } from './support/servers.ts';

const database = 'all "kinds"';

/** Everything that a role without any superuser right can own is given to it. */
const giveAway = `
DO $$
DECLARE o record;
BEGIN
  FOR o IN
    SELECT i.type, i.identity FROM (
      SELECT 'pg_namespace'::regclass AS c, oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
      UNION ALL SELECT 'pg_class'::regclass, c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i') AND d.refobjsubid <> 0)
      UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc
      UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type t WHERE typelem = 0 AND typtype IN ('b', 'd', 'e', 'r', 'c')
        AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c')
      UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
      UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
      UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily
      UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation
      UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion
      UNION ALL SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext
      UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict
      UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config
      UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server
      UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language WHERE lanispl AND lanname <> 'plpgsql'
      UNION ALL SELECT 'pg_publication'::regclass, oid FROM pg_publication p
        WHERE NOT puballtables AND NOT EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid)
    ) x, LATERAL pg_identify_object(x.c, x.oid, 0) i
    WHERE x.oid >= 16384
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = x.c AND d.objid = x.oid AND d.deptype = 'e')
  LOOP
    EXECUTE format('ALTER %s %s OWNER TO keeper',
      replace(replace(o.type, 'statistics object', 'STATISTICS'), 'composite type', 'TYPE'), o.identity);
  END LOOP;
  FOR o IN SELECT oid FROM pg_largeobject_metadata LOOP
    EXECUTE format('ALTER LARGE OBJECT %s OWNER TO keeper', o.oid);
  END LOOP;
END $$`;

/** What hides rows even from their owner, and the right to a wrapper without which nobody owns a server of it. */
const readable = `ALTER TABLE ev.book NO FORCE ROW LEVEL SECURITY; GRANT SELECT ON ev.author TO keeper;
  GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO keeper`;

/** Rows that stand on what only a superuser creates: a person has to take them from it, as validation says. */
const freed = `
DO $$
DECLARE o record;
BEGIN
  FOR o IN
    SELECT DISTINCT a.attrelid::regclass AS t, a.attname, a.atttypid::regtype::text ~ 'customer' AS first FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relkind = 'r' AND NOT a.attisdropped AND a.atttypid IN ('ev.my_int'::regtype, 'ev.my_int[]'::regtype, 'ev.customer'::regtype)
    ORDER BY 3 DESC
  LOOP
    EXECUTE format('ALTER TABLE %s DROP COLUMN %I CASCADE', o.t, o.attname);
  END LOOP;
END $$;
DROP TABLE ev.own_access_method;
DROP FOREIGN TABLE ev.foreign_table;
-- Rows that only name such an object are seen by nobody before they are copied.
DELETE FROM ev.references_by_name;`;

const wrapperByAdmin =
  'CREATE SCHEMA ext AUTHORIZATION keeper; CREATE EXTENSION postgres_fdw SCHEMA ext; GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO keeper';

const makeRoles = `CREATE ROLE keeper LOGIN PASSWORD 'k';
  GRANT ${everythingRoles.map((role) => `"${role}"`).join(', ')} TO keeper`;

/** pg_dump's words for what takes a superuser in the fixture, and what stands on that. */
const notCarried = [
  'ACCESS METHOD',
  'ACL',
  'AGGREGATE',
  'CAST',
  'DEFAULT ACL',
  'EVENT TRIGGER',
  'FOREIGN DATA WRAPPER',
  'FUNCTION',
  'OPERATOR',
  'OPERATOR CLASS',
  'OPERATOR FAMILY',
  'PROCEDURAL LANGUAGE',
  'PUBLICATION',
  'SERVER',
  'TEXT SEARCH CONFIGURATION',
  'TEXT SEARCH DICTIONARY',
  'TEXT SEARCH PARSER',
  'TEXT SEARCH TEMPLATE',
  'TRANSFORM',
  'TYPE',
  'USER MAPPING',
];
/** What only says something about one of those, or is a part of it, and goes unnamed. */
const attachedKinds = ['COMMENT', 'PUBLICATION TABLE', 'PUBLICATION TABLES IN SCHEMA', 'SHELL TYPE'];

/** Whether the check names what a difference is about; each says names in its own way. */
function isNamed(kind: string, name: string, found: string): boolean {
  if (attachedKinds.includes(kind)) return true;
  if (kind === 'DEFAULT ACL') return found.includes('default privileges on new types belonging to role postgres');
  const bare = name
    .replace(/^(TRANSFORM) FOR /, '$1 ')
    .replace(/^CAST \((.*)\)$/, '$1')
    .replace(/^USER MAPPING (\S+) SERVER /, 'user mapping for $1 on server ')
    .replace(/^(\w+\.)?(FUNCTION|TYPE|LANGUAGE|FOREIGN DATA WRAPPER|FOREIGN SERVER) /, '')
    .replace(/\(.*\)$/, '')
    .replace(/^ev\./, '');
  return found.includes(bare);
}

/** What a check has named, one by one; tells by how long a list is whether all of it was found. */
function namesIn(found: string): string[] {
  const sentences = [
    /Only a superuser creates \d+ objects? of the source: (.*?)\.(?= With them| Grants| All of it|$)/s,
    /With them goes what stands on them: (.*?)\.(?= Grants| All of it|$)/s,
    /on what PostgreSQL, extensions or other roles own: (.*?)\.(?= All of it|$)/s,
  ];
  const [objects = [], ...others] = sentences.map(
    (form, at) => form.exec(found)?.[1]?.split(at === 0 ? '; ' : /, (?![^()]*\))/) ?? [],
  );
  return [...objects, ...others.flat()];
}

/** Said to be lost, since the role may not grant it; here an administrator has granted it before. */
const grantedByAdmin = 'FOREIGN DATA WRAPPER postgres_fdw';

/** What was said to be missing and is there all the same, or the other way round. */
function disagreement(said: string, missing: readonly Difference[]): { unsaid: string[]; untrue: string[] } {
  return {
    unsaid: missing.filter(({ kind, name }) => !isNamed(kind, name, said)).map(({ kind, name }) => `${kind} ${name}`),
    untrue: namesIn(said).filter(
      (item) =>
        item !== grantedByAdmin &&
        !missing.some(({ kind, name }) => !attachedKinds.includes(kind) && isNamed(kind, name, item)),
    ),
  };
}

const checkOf = (outcome: CliOutcome, id: string): CheckResult | undefined =>
  outcome.events.flatMap((event) => (event.type === 'check' ? [event.check] : [])).findLast((one) => one.id === id);

/** The same by an archive that one role without rights writes and another reads. */
async function byArchive(
  here: TestServer,
  there: TestServer,
  pgBin: string,
  missingByClone: readonly Difference[],
): Promise<void> {
  const imported = 'from an archive';
  await there.createDatabase(imported, `TEMPLATE template0 ENCODING 'UTF8' OWNER keeper`);
  await there.run(wrapperByAdmin, imported);
  const folder = await mkdtemp(join(tmpdir(), 'pgsluice-ordinary-'));
  try {
    const archive = join(folder, 'archive');
    const exported = await runCli(['export', archive, '--json'], {
      env: { PGSLUICE_SOURCE_URL: here.url(database, 'keeper', 'k') },
      pgBin,
    });
    expect(exported, exported.stdout.slice(-2000)).toMatchObject({ code: 0 });
    const outcome = await runCli(['import', archive, '--json', '--replace'], {
      env: { PGSLUICE_TARGET_URL: there.url(imported, 'keeper', 'k') },
      pgBin,
    });
    expect(outcome, outcome.stdout.slice(-2000)).toMatchObject({
      code: 4,
      result: { status: 'completed', error: null },
    });
    const said = checkOf(outcome, 'archive.superuser-objects');
    expect(said).toMatchObject({ outcome: 'warned' });
    const missing = outcome.result?.differences ?? [];
    expect(missing.filter(({ change }) => change !== 'missing')).toEqual([]);
    expect(disagreement(said?.found ?? '', missing)).toEqual({ unsaid: [], untrue: [] });
    const names = (list: readonly Difference[]): string[] => list.map(({ kind, name }) => `${kind} ${name}`).toSorted();
    expect(names(missing)).toEqual(names(missingByClone));
    expect(await contentsOf(there, imported)).toEqual(await contentsOf(here, database));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

describe.each(slice([15, 17], (to) => to === 17))('every kind of object, by ordinary roles from 15 to %i', (to) => {
  let source: TestServer | undefined;
  let target: TestServer | undefined;
  let skipped = '';

  beforeAll(async () => {
    const searches = await Promise.all([findMajor(15), findMajor(to)]);
    const missing = searches.find((search) => search.binDir === null);
    if (missing !== undefined) {
      skipped = missing.reason;
      return;
    }
    [source, target] = await Promise.all([
      startServer({ name: 'ordinary-source', binDir: searches[0].binDir ?? '' }),
      startServer({ name: 'ordinary-target', binDir: searches[1].binDir ?? '' }),
    ]);
    await loadEverything(source, database);
    await source.run(makeRoles);
    await source.run(giveAway, database);
    await source.run(readable, database);
    for (const role of everythingRoles) await target.run(`CREATE ROLE "${role}"`);
    await target.run(makeRoles);
    await target.createDatabase(database, `TEMPLATE template0 ENCODING 'UTF8' OWNER keeper`);
    // What an administrator has to do for an extension that is not trusted.
    await target.run(wrapperByAdmin, database);
  });
  afterAll(() => Promise.all([source?.stop(), target?.stop()]));

  it('says by name what cannot be carried, and carries everything else', async (context) => {
    if (source === undefined || target === undefined) return context.skip(skipped);
    const [here, there] = [source, target];
    const pgBin = dirname(await pgDumpFor(to, there.binDir));
    const env = {
      PGSLUICE_SOURCE_URL: here.url(database, 'keeper', 'k'),
      PGSLUICE_TARGET_URL: there.url(database, 'keeper', 'k'),
    };
    const blocked = await runCli(['validate', '--json', '--replace'], { env, pgBin });
    expect(blocked).toMatchObject({ code: 3, result: { error: { code: 'SUPERUSER_NEEDED' } } });
    const before = checkOf(blocked, 'privilege.superuser-objects')?.found ?? '';
    for (const name of [
      'TYPE "ev"."my_int": it is a base type',
      'table ev.own_access_method',
      'column number of table ev.customer',
    ])
      expect(before).toContain(name);
    await here.run(freed, database);

    const outcome = await runCli(['clone', '--json', '--replace'], { env, pgBin });
    expect(outcome).toMatchObject({ code: 4, result: { status: 'completed', error: null } });
    const said = checkOf(outcome, 'privilege.superuser-objects');
    expect(said).toMatchObject({ outcome: 'warned' });
    expect(checkOf(outcome, 'objects.foreign')?.found).toContain('hidden from this role');
    expect(checkOf(outcome, 'objects.subscriptions')?.found).toContain('ev_sub');

    // Nothing but what was named before the start is missing, and nothing is different.
    const missing = outcome.result?.differences ?? [];
    expect(missing.filter(({ change }) => change !== 'missing')).toEqual([]);
    expect(namesIn(said?.found ?? '').length).toBeGreaterThan(25);
    expect(disagreement(said?.found ?? '', missing)).toEqual({ unsaid: [], untrue: [] });
    expect(new Set(missing.map(({ kind }) => kind))).toEqual(new Set([...notCarried, ...attachedKinds]));
    expect(await contentsOf(there, database)).toEqual(await contentsOf(here, database));

    await byArchive(here, there, pgBin, missing);

    // Once a superuser has made that, the databases are equal in the eyes of one, but for what its owner could not even read.
    const made = missing.map(({ source: sql }) => sql ?? '').join('\n');
    await there.run(`SET check_function_bodies = off; SET search_path = ''; ${made}`, database);
    const all = { PGSLUICE_SOURCE_URL: here.url(database), PGSLUICE_TARGET_URL: there.url(database) };
    const verified = await runCli(['verify', '--json'], { env: all, pgBin });
    expect(
      verified.result?.differences.map(({ kind, name, change }) => `${kind} ${name} ${change}`).toSorted(),
    ).toEqual([
      'COMMENT SUBSCRIPTION ev_sub missing',
      'SUBSCRIPTION ev_sub missing',
      'USER MAPPING USER MAPPING Ev Weird-Role SERVER Ev Postgres different',
    ]);
  }, 300_000);
});
