import type { JobOptions } from '../contract/options.ts';
import { qualified, quoteIdent } from '../postgres/quote.ts';
import { failed, informed, passed, warned } from './check.ts';
import type { Check, Scope, Verdict } from './check.ts';
import type { CatalogObject } from './catalog.ts';
import type { Database } from './database.ts';
import { objectName } from './names.ts';
import { dataInScope, largeObjectsInScope } from './scope.ts';
import { NAMED, count, listNames } from './words.ts';

/** An extension of the target, plpgsql left out. */
export interface TargetExtension {
  readonly name: string;
  readonly owner: string;
  /** Where it stands; such a schema stays with an extension that stays. */
  readonly schema?: string;
  readonly ours: boolean;
  /** False: the source does not have it. */
  readonly onSource: boolean;
}

/** All that stands in the target database, whatever the job's filters: --replace and a retry drop all of it. */
export interface TargetContents {
  readonly objects: readonly CatalogObject[];
  readonly largeObjects: number;
  /** Large objects and default privileges of roles that ours may not act as: it cannot remove them. */
  readonly othersLargeObjects?: number;
  readonly othersDefaults?: readonly string[];
  readonly extensions: readonly TargetExtension[];
}

/** What is about to be dropped is listed longer than other names are. */
const LISTED = 200;

export interface EmptyInput {
  readonly database: string;
  readonly role: string;
  readonly replace: boolean;
  readonly ownTarget: boolean;
}

/**
 * An empty schema public and extensions do not count as contents: every fresh database of some provider has them. With
 * --replace the role's own extensions are dropped as well, and named.
 */
export function judgeTargetEmpty(contents: TargetContents, input: EmptyInput): Verdict {
  const staying = contents.extensions.filter((e) => !(input.replace && e.ours));
  const kept = new Set(['public', ...(input.replace ? staying.map((e) => e.schema) : [])]);
  const objects = contents.objects.filter((o) => !(o.kind === 'SCHEMA' && kept.has(o.name)));
  const large = contents.largeObjects > 0 ? [count(contents.largeObjects, 'large object')] : [];
  const describe = (names: readonly string[]): string =>
    [...(names.length > 0 ? [`${count(names.length, 'object')}: ${listNames(names, LISTED)}`] : []), ...large].join(
      '; ',
    );
  const own = objects.map(objectName);
  const empty = own.length === 0 && large.length === 0;
  if (!empty && input.ownTarget) return passed(`The target holds what this job made there before: ${describe(own)}.`);
  if (!empty && !input.replace) {
    return failed(
      'TARGET_NOT_EMPTY',
      `The target database ${input.database} is not empty: ${describe(own)}.`,
      'Give an empty database (CREATE DATABASE …), or --replace, which drops everything in it once the whole validation has passed.',
    );
  }
  // What an administrator installed stays; a source that has it too finds it there.
  const extensions = contents.extensions.filter((e) => e.ours).map((e) => `EXTENSION ${quoteIdent(e.name)}`);
  if (input.replace && !(empty && extensions.length === 0)) {
    const foreign = objects
      .filter((o) => !o.ours && o.owner !== null)
      .map((o) => ({ words: objectName(o), owner: o.owner ?? '' }));
    const others = [
      ...foreign.map((f) => f.words),
      ...((contents.othersLargeObjects ?? 0) > 0 ? [count(contents.othersLargeObjects ?? 0, 'large object')] : []),
      ...(contents.othersDefaults ?? []),
    ];
    if (others.length > 0) {
      return failed(
        'REPLACE_NOT_ALLOWED',
        `The role ${input.role} may not drop what belongs to others in the target: ${listNames(others)}.`,
        [
          ...[...new Set(foreign.map((f) => f.owner))]
            .slice(0, NAMED)
            .map((owner) => `GRANT ${quoteIdent(owner)} TO ${quoteIdent(input.role)};`),
          ...(others.length > foreign.length ? ['-- or drop it as its owner, or give an empty database'] : []),
        ].join('\n'),
      );
    }
    return warned(
      `--replace will drop ${describe([...own, ...extensions])}.${staying.length === 0 ? '' : ` ${count(staying.length, 'extension')} of an administrator ${staying.length === 1 ? 'stays' : 'stay'}: ${listNames(staying.map((e) => e.name))}.`}`,
      'Nothing, if you meant it; else give another target.',
    );
  }
  const extra = contents.extensions.filter((e) => !e.onSource).map((e) => e.name);
  if (extra.length > 0) {
    return informed(`The target is empty but for extensions the source does not have: ${listNames(extra)}. They stay.`);
  }
  return passed(`The target database ${input.database} is empty.`);
}

/**
 * Data only: the tables must be there and hold nothing, or the copy would mix with what they hold. `largeObjects`: how many
 * the target has, where the job moves them; they keep their oids and cannot stand beside others.
 */
export function judgeDataOnlyTarget(
  wanted: readonly string[],
  present: ReadonlyMap<string, boolean>,
  input: Pick<EmptyInput, 'replace' | 'ownTarget'>,
  largeObjects = 0,
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
  const large = largeObjects > 0 ? count(largeObjects, 'large object') : null;
  if (filled.length === 0 && large === null) return passed(`All ${count(wanted.length, 'table')} are there and empty.`);
  if (input.ownTarget)
    return passed(
      `${count(filled.length, 'table')} ${filled.length === 1 ? 'holds' : 'hold'} rows that this job copied before.`,
    );
  if (input.replace)
    return warned(
      `--replace will empty ${count(filled.length, 'table')}${filled.length > 0 ? `: ${listNames(filled)}` : ''}${large === null ? '' : ` and remove ${large}`}.`,
      'Nothing, if you meant it; else give another target.',
    );
  if (filled.length === 0) {
    return failed(
      'TARGET_NOT_EMPTY',
      `The target has ${large} already, and those of the source come with oids of their own.`,
      'SELECT lo_unlink(oid) FROM pg_largeobject_metadata;\n-- or: --replace, which removes them once the whole validation has passed',
    );
  }
  return failed(
    'TARGET_TABLE_NOT_EMPTY',
    `${count(filled.length, 'table')} of the target ${filled.length === 1 ? 'holds' : 'hold'} rows already: ${listNames(filled)}.`,
    `TRUNCATE ${filled.slice(0, NAMED).join(', ')};\n-- or: --replace, which empties them once the whole validation has passed`,
  );
}

const EXTENSIONS = `
SELECT extname::text AS name, pg_get_userbyid(extowner)::text AS owner, (SELECT nspname::text FROM pg_namespace n WHERE n.oid = extnamespace) AS schema, pg_has_role(extowner, 'USAGE') AS ours
FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY extname`;
const OTHERS = `
SELECT (SELECT count(*)::int FROM pg_largeobject_metadata WHERE NOT pg_has_role(lomowner, 'USAGE')) AS large,
       ARRAY(SELECT pg_describe_object('pg_default_acl'::regclass, oid, 0) FROM pg_default_acl WHERE NOT pg_has_role(defaclrole, 'MEMBER')) AS defaults`;
const LARGE_OBJECT_COUNT = `SELECT count(*)::float8 AS n FROM pg_largeobject_metadata`;

type ExtensionRow = Omit<TargetExtension, 'onSource'>;

const readExtensions = (database: Database): Promise<ExtensionRow[]> =>
  database.session.query<ExtensionRow & Record<string, unknown>>(EXTENSIONS);

async function readContents(brought: ReadonlySet<string>, target: Database): Promise<TargetContents> {
  const others = await target.one<{ large: number; defaults: string[] }>(OTHERS);
  return {
    objects: await target.objects(),
    othersLargeObjects: others.large,
    othersDefaults: others.defaults,
    largeObjects: (await target.one<{ n: number }>(LARGE_OBJECT_COUNT)).n,
    extensions: (await readExtensions(target)).map((e) => ({ ...e, onSource: brought.has(e.name) })),
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
  wanted: readonly string[],
  target: Database,
  options: JobOptions,
  input: EmptyInput,
): Promise<Verdict> {
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
  const large = largeObjectsInScope(options) ? (await target.one<{ n: number }>(LARGE_OBJECT_COUNT)).n : 0;
  return judgeDataOnlyTarget(wanted, new Map([...present].map((name) => [name, filled.has(name)])), input, large);
}

/** What is brought to a target. */
export interface Brought {
  /** Tables whose rows come, qualified and quoted. */
  readonly tables: readonly string[];
  /** Extensions by name. */
  readonly extensions: ReadonlySet<string>;
}

/** Whether the target can take what is brought: empty, made by this very job, or to be replaced. */
export async function judgeRoom(
  target: Database,
  { options, ownTarget }: Pick<Scope, 'options' | 'ownTarget'>,
  brought: () => Promise<Brought>,
): Promise<Verdict> {
  const { database, role } = target.identity;
  const input: EmptyInput = { database, role, replace: options.replace, ownTarget };
  const { tables, extensions } = await brought();
  if (options.dataOnly) return judgeDataOnly(tables, target, options, input);
  return judgeTargetEmpty(await readContents(extensions, target), input);
}

async function readBrought(source: Database, options: JobOptions): Promise<Brought> {
  const tables = (await source.relations())
    .filter((r) => r.kind === 'r' && dataInScope(options, r.schema, r.name))
    .map((r) => qualified(r.schema, r.name));
  return { tables, extensions: new Set((await readExtensions(source)).map((e) => e.name)) };
}

export const targetEmpty: Check = {
  id: 'capacity.target-empty',
  severity: 'blocks',
  title: 'The target is empty, or may be replaced.',
  needs: 'both',
  side: 'target',
  run: (source, target, scope) => judgeRoom(target, scope, () => readBrought(source, scope.options)),
};
