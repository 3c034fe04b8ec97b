import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { quoteIdent, quoteLiteral } from '../src/postgres/quote.ts';
import { runCli } from './support/cli.ts';
import { root } from './support/binaries.ts';
import { contentsOf } from './support/contents.ts';
import { type TestServer, startServer } from './support/servers.ts';

/** What somebody might hope to see run, printed or opened, as a name: at most 63 bytes. */
const names = [
  'a\nCREATE ROLE mallory SUPERUSER;\n--',
  'b\r\nDROP SCHEMA guard CASCADE;\r\n--',
  '\\! touch hijacked',
  '\\connect other',
  'c\u001b[2J\u001b]0;title\u0007\u009b31m',
  '<script>alert(1)</script><img src=x onerror=alert(1)>',
  '\u202egnp.exe\u2066',
  'd\u2028e\u2029f\u0085g',
  'v; Type: EXTENSION; Schema: -; Owner: postgres',
  `"; DROP SCHEMA guard CASCADE; --`,
  "'); DROP SCHEMA guard CASCADE; --",
  '$$; DROP SCHEMA guard CASCADE; --',
  '=cmd|calc!A0',
  '%s%n${PATH}`id`$(id)',
  '-- TOC entry 1 (class 0 OID 0)',
  'constructor',
  '__proto__',
];
const megabyte = `\n\\! touch hijacked\n\\.\n;DROP SCHEMA guard CASCADE;\u001b[2J${'x'.repeat(1_000_000)}`;

let source: TestServer;
let target: TestServer;
let state: string;

/** Names of functions that stand in our own SQL, as far as the server has them. */
function ownFunctions(): string[] {
  const found = new Set<string>();
  const read = (folder: string): void => {
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      if (statSync(path).isDirectory()) read(path);
      else if (path.endsWith('.ts') && !path.endsWith('.test.ts')) {
        for (const [, word] of readFileSync(path, 'utf8').matchAll(/\b([a-z_][a-z0-9_]{2,})\(/g)) found.add(word ?? '');
      }
    }
  };
  for (const room of ['postgres', 'checks', 'clone', 'verify', 'live', 'jobs']) read(join(root, 'src', room));
  return [...found];
}

/** In schema public: what shadows functions and operators of pg_catalog wherever the search path puts it first. */
const SHADOWS = (functions: readonly string[]): string => `
DO $do$
DECLARE f record;
BEGIN
  FOR f IN
    SELECT p.proname, pg_get_function_arguments(p.oid) AS args, format_type(p.prorettype, NULL) AS result
    FROM pg_proc p
    WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset AND p.pronargs > 0
      AND p.proname = ANY (ARRAY[${functions.map(quoteLiteral).join(', ')}])
      AND NOT EXISTS (SELECT FROM unnest(p.proargtypes || p.prorettype) a JOIN pg_type t ON t.oid = a WHERE t.typtype = 'p')
      AND p.proargmodes IS NULL
  LOOP
    BEGIN
      EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION ''hijacked''; END $f$',
        f.proname, f.args, f.result);
    EXCEPTION WHEN others THEN NULL;
    END;
  END LOOP;
END $do$;
CREATE FUNCTION public.hijack(text, text) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION 'hijacked'; END $f$;
CREATE FUNCTION public.hijack(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION 'hijacked'; END $f$;
CREATE FUNCTION public.hijack(name, name) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION 'hijacked'; END $f$;
CREATE FUNCTION public.join_texts(text, text) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION 'hijacked'; END $f$;
CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.hijack);
CREATE OPERATOR public.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = public.hijack);
CREATE OPERATOR public.~ (LEFTARG = text, RIGHTARG = text, FUNCTION = public.hijack);
CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = public.hijack);
CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = public.hijack);
CREATE OPERATOR public.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = public.join_texts);`;

const HOSTILE = [
  'CREATE SCHEMA guard; CREATE TABLE guard.kept AS SELECT generate_series(1, 10) AS id;',
  ...names.map((name, at) => {
    const [ident, text] = [quoteIdent(name), quoteLiteral(name)];
    const type = quoteIdent(`${at}${name}`.slice(0, 40));
    return `CREATE SCHEMA ${ident};
      CREATE TYPE ${ident}.${type} AS ENUM (${text}, 'other');
      CREATE TABLE ${ident}.${ident} (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, ${ident} text DEFAULT ${text} CHECK (${ident} <> ''), kind ${ident}.${type} DEFAULT ${text});
      INSERT INTO ${ident}.${ident} (${ident}) VALUES (${text}), (E'\\\\.\\n\\\\! x');
      CREATE INDEX ON ${ident}.${ident} ((${ident} OPERATOR(pg_catalog.||) ${text}));
      CREATE VIEW ${ident}.v AS SELECT ${ident}, ${text}::text AS word FROM ${ident}.${ident};
      CREATE FUNCTION ${ident}.${ident}(${ident} text) RETURNS text LANGUAGE sql RETURN ${ident};
      CREATE FUNCTION ${ident}.${type}() RETURNS void LANGUAGE plpgsql AS ${quoteLiteral(`BEGIN /* ${name} */ END`)};
      COMMENT ON TABLE ${ident}.${ident} IS ${text}; COMMENT ON COLUMN ${ident}.${ident}.id IS ${quoteLiteral(`${name}\n\\! touch hijacked`)};`;
  }),
  `COMMENT ON TABLE guard.kept IS ${quoteLiteral(megabyte)};`,
  `CREATE TABLE guard.long (t text); INSERT INTO guard.long VALUES (${quoteLiteral(megabyte)});`,
];

/** Runs when the target makes a table: as whoever makes it, so with our rights; all that it says reaches us. */
const TRIGGER = `
CREATE FUNCTION public.noisy() RETURNS event_trigger LANGUAGE plpgsql AS $f$
BEGIN RAISE WARNING E'\\u001b[2J<script>alert(1)</script> %', repeat('x', 100000); END $f$;
CREATE EVENT TRIGGER noisy ON ddl_command_end EXECUTE FUNCTION public.noisy();`;

beforeAll(async () => {
  [source, target] = await Promise.all([startServer({ name: 'hostile' }), startServer({ name: 'hostile-target' })]);
  state = mkdtempSync(join(tmpdir(), 'pgsluice-hostile-'));
  await source.createDatabase('evil');
  for (const sql of HOSTILE) await source.run(sql, 'evil');
  await source.run(SHADOWS(ownFunctions()), 'evil');
  const [{ shadows } = { shadows: 0 }] = await source.query(
    `SELECT count(*)::int AS shadows FROM pg_proc WHERE pronamespace = 'public'::regnamespace`,
    'evil',
  );
  if (Number(shadows) < 50) throw new Error(`only ${String(shadows)} functions are shadowed`);
  await source.run(
    `ALTER DATABASE evil SET search_path = public, pg_catalog; ALTER ROLE postgres SET search_path = public, pg_catalog`,
  );
  await target.createDatabase('copy');
  await target.run(TRIGGER, 'copy');
  await target.run(
    `ALTER DATABASE copy SET search_path = public, pg_catalog; ALTER ROLE postgres SET search_path = public, pg_catalog`,
  );
});
afterAll(async () => {
  await Promise.all([source?.stop(), target?.stop()]);
  rmSync(state, { recursive: true, force: true });
});

/** Bytes that change what a terminal shows beyond the text itself. */
// oxlint-disable-next-line no-control-regex -- these are what must not be there
const unsafe = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;

test('a hostile source is copied faithfully, runs nothing beyond its objects, and is shown harmlessly', async () => {
  const env = { PGSLUICE_SOURCE_URL: source.url('evil'), PGSLUICE_TARGET_URL: target.url('copy') };
  const run = (args: readonly string[]) => runCli(args, { state, env });
  const clone = await run(['clone', '--replace']);
  expect(clone.stderr + clone.stdout).not.toMatch(unsafe);
  expect(clone.code, clone.stderr.slice(-3000) + clone.stdout.slice(-3000)).toBe(0);

  const [there, here] = await Promise.all([contentsOf(source, 'evil'), contentsOf(target, 'copy')]);
  expect(here).toEqual(there);
  expect(there.size).toBeGreaterThan(30);
  expect(await target.dumpSchema('copy')).toBe(await source.dumpSchema('evil'));
  expect(await target.query(`SELECT rolname FROM pg_roles WHERE rolname = 'mallory'`)).toEqual([]);

  const [logs, csv, md, html] = [
    await run(['logs', '--level', 'debug']),
    await run(['checks', '--format', 'csv']),
    await run(['checks', '--format', 'md']),
    await run(['report', '--html', '-']),
  ];
  for (const { stdout, stderr } of [logs, md]) expect(stdout + stderr).not.toMatch(unsafe);
  expect(logs.stdout.length).toBeLessThan(3_000_000);
  for (const { stdout } of [html, md]) expect(stdout).not.toMatch(/<script|<img/i);
  expect(html.stdout).not.toMatch(unsafe);
  for (const line of csv.stdout.split('\r\n')) {
    for (const [, cell = ''] of line.matchAll(/(?:^|,)("(?:[^"]|"")*"|[^,]*)/g)) expect(cell).not.toMatch(/^"?[=+@\t]/);
  }
});
