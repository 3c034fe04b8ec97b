import { expect } from 'vitest';
import { createEverythingRoles, loadEverything } from './fixtures/everything.ts';
import { removals } from './fixtures/everything-removals.ts';
import { type CliOutcome, runCli } from './support/cli.ts';
import { contentsOf } from './support/contents.ts';
import { loadPagila } from './support/pagila.ts';
import { pgDumpFor, type TestServerLike } from './support/servers.ts';

/** The same scenarios run on servers of this machine and on containers. */
export interface Stage {
  readonly source: TestServerLike;
  readonly target: TestServerLike;
  /** Folder with pg_dump and pg_restore for both; left to the discovery when undefined. */
  readonly pgBin?: string | undefined;
}

let databases = 0;

/** A name no other scenario uses, so that scenarios can share servers. */
function freshName(base: string): string {
  databases += 1;
  return `${base}_${process.pid}_${databases}`;
}

/** Clones Pagila; answers how many tables were verified. */
export async function pagila(stage: Stage): Promise<number> {
  const database = freshName('pagila');
  await loadPagila(stage.source, database);
  await stage.target.createDatabase(database);
  const outcome = await clone(stage, database);
  expect(ending(outcome)).toEqual(verified);
  expect(await contentsOf(stage.target, database)).toEqual(await contentsOf(stage.source, database));
  await expectSameSchema(stage, database);
  expect(await stage.source.sessions()).toEqual([]);
  expect(await stage.target.sessions()).toEqual([]);
  return outcome.result?.tables ?? 0;
}

/** Clones the database with every kind of object, and proves that verification sees what is missing afterwards; answers how many tables were verified. */
export async function everything(stage: Stage): Promise<number> {
  const database = freshName('every thing "quoted"');
  await loadEverything(stage.source, database);
  await createEverythingRoles(stage.target);
  await stage.target.createDatabase(database, `TEMPLATE template0 ENCODING 'UTF8'`);
  const outcome = await clone(stage, database);
  expect(ending(outcome)).toEqual(verified);
  const before = await contentsOf(stage.source, database);
  const after = await contentsOf(stage.target, database);
  expect(difference(before, after)).toEqual([]);
  await expectSameSchema(stage, database);

  await stage.target.run(`UPDATE ev.texts SET a = overlay(a placing 'X' from 1234567 for 1) WHERE id = 12`, database);
  const changed = await verify(stage, database);
  expect(ending(changed)).toMatchObject({ code: 4, error: null });
  expect(changed.result?.differences.map((d) => [d.kind, d.name, d.change])).toEqual([
    ['CONTENT', 'ev.texts', 'different'],
  ]);

  for (const { sql } of removals) await stage.target.run(sql, database);
  const missing = await verify(stage, database);
  expect(ending(missing)).toMatchObject({ code: 4, error: null });
  const named = missing.result?.differences ?? [];
  const unnoticed = removals.filter(
    ({ kind, found, name }) => !named.some((d) => d.kind === (found ?? kind) && d.name === name),
  );
  expect(unnoticed).toEqual([]);
  // A database with a subscription cannot be dropped, and its server is shared.
  await stage.source.run('DROP SUBSCRIPTION ev_sub', database);
  return outcome.result?.tables ?? 0;
}

async function clone(stage: Stage, database: string): Promise<CliOutcome> {
  return runCli(['clone', '--json'], { env: endpoints(stage, database), pgBin: stage.pgBin });
}

async function verify(stage: Stage, database: string): Promise<CliOutcome> {
  return runCli(['verify', '--json'], { env: endpoints(stage, database), pgBin: stage.pgBin });
}

function endpoints(stage: Stage, database: string): Record<string, string> {
  return { PGSLUICE_SOURCE_URL: stage.source.url(database), PGSLUICE_TARGET_URL: stage.target.url(database) };
}

const verified = { code: 0, status: 'completed', verified: true, differences: [], error: null, gapless: true };

/** What has to be right at the end of a job, in one object, so that a failed comparison shows all of it. */
function ending(outcome: CliOutcome): Record<string, unknown> {
  const { code, result, events, stderr } = outcome;
  const gapless = events.every((event, index) => event.seq === index + 1);
  if (result === null) return { code, gapless, stderr };
  const { status, verified: proven, differences, error } = result;
  return { code, status, verified: proven, differences, error, gapless };
}

/** Across majors the server prints some definitions in other words; there the names of what exists are compared. */
async function expectSameSchema(stage: Stage, database: string): Promise<void> {
  const { source, target } = stage;
  const pgDump = await pgDumpFor(Math.max(source.major, target.major), null);
  const [left, right] = await Promise.all([source.dumpSchema(database, pgDump), target.dumpSchema(database, pgDump)]);
  const settle = source.major === target.major ? settleDefaults : statementHeads;
  expect(settle(right)).toEqual(settle(left));
}

/** A partition attached without its parent's default is written with DEFAULT NULL, and read back with a cast. */
function settleDefaults(dump: string): string[] {
  return dump.replaceAll(/DEFAULT NULL(::[a-z ]+)?/g, 'DEFAULT NULL').split('\n');
}

/** Heads of the statements, MAINTAIN apart: before 17 the privilege did not exist, so an owner could not lose it. */
function statementHeads(dump: string): string[] {
  const statements = dump.split('\n').filter((line) => /^(CREATE|ALTER|COMMENT|GRANT)\b.*;$/.test(line));
  return statements
    .filter((line) => !line.startsWith('GRANT MAINTAIN'))
    .map((line) => line.split(' ').slice(0, 4).join(' '));
}

function difference(left: ReadonlyMap<string, string>, right: ReadonlyMap<string, string>): string[] {
  const names = new Set([...left.keys(), ...right.keys()]);
  return [...names]
    .filter((name) => left.get(name) !== right.get(name))
    .map((name) => `${name}: ${left.get(name)} | ${right.get(name)}`);
}
