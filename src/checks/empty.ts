import type { JobOptions } from '../contract/options.ts';
import { qualified, quoteIdent } from '../postgres/quote.ts';
import { failed, informed, passed, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import type { CatalogObject } from './catalog.ts';
import type { Database } from './database.ts';
import { objectName } from './names.ts';
import { dataInScope, inScope, largeObjectsInScope } from './scope.ts';
import { NAMED, count, listNames } from './words.ts';

/** What stands in the target where the job would write. */
export interface TargetContents {
  readonly objects: readonly CatalogObject[];
  readonly largeObjects: number;
  /** Extensions of the target that the source does not have. */
  readonly extraExtensions: readonly string[];
}

export interface EmptyInput {
  readonly database: string;
  readonly role: string;
  readonly replace: boolean;
  readonly ownTarget: boolean;
}

/** An empty schema public and extensions the source has too do not count: every fresh database has some of it. */
export function judgeTargetEmpty(contents: TargetContents, input: EmptyInput): Verdict {
  const objects = contents.objects.filter((o) => !(o.kind === 'SCHEMA' && o.name === 'public'));
  const names = objects.map(objectName);
  const what = [
    ...(objects.length > 0 ? [`${count(objects.length, 'object')}: ${listNames(names)}`] : []),
    ...(contents.largeObjects > 0 ? [count(contents.largeObjects, 'large object')] : []),
  ].join('; ');
  if (what !== '') {
    if (input.ownTarget) return passed(`The target holds what this job made there before: ${what}.`);
    if (!input.replace) {
      return failed(
        'TARGET_NOT_EMPTY',
        `The target database ${input.database} is not empty: ${what}.`,
        `Give an empty database (CREATE DATABASE …), or --replace, which drops everything named here once the whole validation has passed.`,
      );
    }
    const foreign = objects.filter((o) => !o.ours && o.kind !== 'CAST');
    if (foreign.length > 0) {
      return failed(
        'REPLACE_NOT_ALLOWED',
        `The role ${input.role} may not drop ${count(foreign.length, 'object')} of others in the target: ${listNames(foreign.map(objectName))}.`,
        [...new Set(foreign.map((o) => o.owner).filter((o) => o !== null))]
          .slice(0, NAMED)
          .map((owner) => `GRANT ${quoteIdent(owner)} TO ${quoteIdent(input.role)};`)
          .join('\n'),
      );
    }
    return warned(`--replace will drop ${what}.`, 'Nothing, if you meant it; else give another target.');
  }
  if (contents.extraExtensions.length > 0) {
    return informed(
      `The target is empty but for extensions the source does not have: ${listNames(contents.extraExtensions)}. They stay.`,
    );
  }
  return passed(`The target database ${input.database} is empty.`);
}

/** Data only: the tables must be there and hold nothing, or the copy would mix with what they hold. */
export function judgeDataOnlyTarget(
  wanted: readonly string[],
  present: ReadonlyMap<string, boolean>,
  input: Pick<EmptyInput, 'replace' | 'ownTarget'>,
): Verdict {
  const missing = wanted.filter((name) => !present.has(name));
  if (missing.length > 0) {
    return failed(
      'TABLE_MISSING',
      `With --data-only the target must have every table already; it lacks ${count(missing.length, 'table')}: ${listNames(missing)}.`,
      'Leave --data-only out, or create these tables on the target first (--schema-only does).',
    );
  }
  const filled = wanted.filter((name) => present.get(name) === true);
  if (filled.length === 0) return passed(`All ${count(wanted.length, 'table')} are there and empty.`);
  if (input.ownTarget)
    return passed(
      `${count(filled.length, 'table')} ${filled.length === 1 ? 'holds' : 'hold'} rows that this job copied before.`,
    );
  if (input.replace)
    return warned(
      `--replace will empty ${count(filled.length, 'table')}: ${listNames(filled)}.`,
      'Nothing, if you meant it; else give another target.',
    );
  return failed(
    'TARGET_TABLE_NOT_EMPTY',
    `${count(filled.length, 'table')} of the target ${filled.length === 1 ? 'holds' : 'hold'} rows already: ${listNames(filled)}.`,
    `TRUNCATE ${filled.slice(0, NAMED).join(', ')};\n-- or: --replace, which empties them once the whole validation has passed`,
  );
}

const EXTENSION_NAMES = `SELECT extname::text AS name FROM pg_extension`;
const LARGE_OBJECT_COUNT = `SELECT count(*)::float8 AS n FROM pg_largeobject_metadata`;

async function extensionNames(database: Database): Promise<string[]> {
  return (await database.session.query<{ name: string }>(EXTENSION_NAMES)).map((row) => row.name);
}

async function readContents(source: Database, target: Database, options: JobOptions): Promise<TargetContents> {
  const there = await extensionNames(source);
  return {
    objects: (await target.objects()).filter((object) => inScope(options, object)),
    largeObjects: largeObjectsInScope(options) ? (await target.one<{ n: number }>(LARGE_OBJECT_COUNT)).n : 0,
    extraExtensions: (await extensionNames(target)).filter((name) => name !== 'plpgsql' && !there.includes(name)),
  };
}

/** Tables of the target that hold rows: one EXISTS a table, all in one statement, so that statistics need not be trusted. */
async function readFilled(target: Database, names: readonly string[]): Promise<Set<string>> {
  const filled = new Set<string>();
  const batch = 200;
  for (let i = 0; i < names.length; i += batch) {
    const parts = names
      .slice(i, i + batch)
      .map((name, n) => `SELECT ${i + n} AS n WHERE EXISTS (SELECT FROM ONLY ${name})`);
    const rows = await target.session.query<{ n: number }>(parts.join(' UNION ALL '));
    for (const row of rows) filled.add(names[row.n] ?? '');
  }
  return filled;
}

async function judgeDataOnly(
  source: Database,
  target: Database,
  options: JobOptions,
  input: EmptyInput,
): Promise<Verdict> {
  const wanted = (await source.relations())
    .filter((r) => r.kind === 'r' && dataInScope(options, r.schema, r.name))
    .map((r) => qualified(r.schema, r.name));
  const tables = (await target.relations()).filter((r) => r.kind === 'r' || r.kind === 'p');
  const present = new Set(tables.map((r) => qualified(r.schema, r.name)));
  // Where this role may not read, privilege.target-create says so; rows cannot be looked for.
  const readable = new Set(
    tables
      .filter((r) => r.kind === 'r' && r.canSelect && r.schemaUsage && !r.rowSecurity)
      .map((r) => qualified(r.schema, r.name)),
  );
  const filled = await readFilled(
    target,
    wanted.filter((name) => readable.has(name)),
  );
  return judgeDataOnlyTarget(wanted, new Map([...present].map((name) => [name, filled.has(name)])), input);
}

export const targetEmpty: Check = {
  id: 'capacity.target-empty',
  severity: 'blocks',
  title: 'The target is empty, or may be replaced.',
  needs: 'both',
  side: 'target',
  run: async (source, target, { options, ownTarget }) => {
    const { database, role } = target.identity;
    const input: EmptyInput = { database, role, replace: options.replace, ownTarget };
    if (options.dataOnly) return judgeDataOnly(source, target, options, input);
    return judgeTargetEmpty(await readContents(source, target, options), input);
  },
};
