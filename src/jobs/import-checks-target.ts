import { newDatabaseOf } from '../checks/absent-target.ts';
import { judgeTargetDisk, readFree, readMaxWal } from '../checks/capacity.ts';
import type { CatalogObject } from '../checks/catalog.ts';
import { failed, informed, passed, skipped, warned } from '../checks/check.ts';
import type { Scope, Verdict } from '../checks/check.ts';
import type { Database } from '../checks/database.ts';
import { judgeExtensions, offeredBy, readFilled, readInstallRights } from '../checks/extensions.ts';
import { judgeRolePlan } from '../checks/privilege-owners.ts';
import {
  isManaged,
  isTried,
  judgeRoles,
  judgeSetOwner,
  judgeSuperuserObjects,
  readActsAs,
  readTargetRole,
} from '../checks/privilege-target.ts';
import type { NeededRoles } from '../checks/privilege-target.ts';
import { picksOut } from '../checks/scope.ts';
import { listNames } from '../checks/words.ts';
import { databaseOfArchive } from '../clone/import-archive-database.ts';
import { type EntryFilter, chooseEntries } from '../clone/import-archive-entries.ts';
import { archiveExtensions, asInstalled, excludedEntries, usedExtensions } from '../clone/import-archive-extensions.ts';
import { type NotCarriedEntries, notCarriedEntries } from '../clone/import-archive-not-carried.ts';
import { rolesOfArchive } from '../clone/import-archive.ts';
import type { MeasuredData } from '../clone/import-archive.ts';
import { carriesLargeObjects } from '../clone/large-objects.ts';
import { rolesNamed } from '../clone/roles.ts';
import type { Manifest } from '../contract/manifest.ts';
import type { JobOptions } from '../contract/options.ts';
import type { ArchiveEntry } from '../postgres/archive.ts';
import type { Toc, TocEntry } from '../postgres/archive-toc.ts';
import { type DatabaseFacts, readDatabaseFacts } from '../postgres/database-facts.ts';
import { planExtensions } from '../postgres/extensions.ts';
import { tableDataMatches } from '../postgres/filters.ts';
import { withoutLeftOut } from '../postgres/left-out.ts';
import { mappedRole, rolesOfEntry } from '../postgres/map-roles.ts';
import { qualified, quoteIdent } from '../postgres/quote.ts';
import { readRoleRights } from '../postgres/role-facts.ts';
import { planRoles } from '../postgres/role-plan.ts';

/** An archive that was read, and the server that it is to go to. */
export interface ArchiveForTarget {
  readonly toc: Toc;
  readonly manifest: Manifest | null;
  readonly options: JobOptions;
  readonly target: Database;
}

const DATA_ONLY = 'The job moves data only.';

/** What the target's database is to be like, and whether it can be made so. */
export async function examineDatabase({
  toc,
  manifest,
  options,
  target,
}: ArchiveForTarget): Promise<{ readonly verdict: Verdict; readonly facts: DatabaseFacts }> {
  const locale = await readDatabaseFacts(target.session, 'template0');
  const { facts, unknown } = databaseOfArchive(toc, manifest, { locale, role: target.identity.role });
  if (!target.absent) {
    const found = `The database ${target.identity.database} exists and is left as it is.`;
    return { facts, verdict: passed(found) };
  }
  const verdict = await newDatabaseOf(facts, target, { options });
  if (unknown.length === 0 || verdict.outcome === 'failed') return { facts, verdict };
  const found = `${verdict.found} ${unknown.join('. ')}.`;
  return { facts, verdict: verdict.outcome === 'warned' ? { ...verdict, found } : warned(found) };
}

/** Tables that would lose their rows with an extension are no part of what may be left out. Pure. */
export function judgeExcludedEntries(
  toc: Toc,
  options: EntryFilter & { readonly excludeExtension: readonly string[] },
): Verdict {
  const { excludeExtension: globs } = options;
  if (globs.length === 0) return skipped('No extension is to be left out.');
  const { extensions, ids } = excludedEntries(toc, globs);
  if (extensions.length === 0)
    return warned(
      `No extension of the archive matches --exclude-extension ${listNames(globs)}.`,
      'Give the name as the archive has it: pg_restore --list shows them.',
    );
  const wanted = chooseEntries(toc, { ...options, excludeExtension: [] });
  const gone = toc.entries.filter(
    ({ dumpId, type }) => ids.has(dumpId) && wanted.has(dumpId) && type !== 'EXTENSION' && type !== 'COMMENT',
  );
  const tables = gone.filter(({ type }) => type === 'TABLE');
  if (tables.length > 0) {
    const names = tables.map(({ schema, name }) => qualified(schema ?? '', name));
    return failed(
      'EXTENSION_HOLDS_ROWS',
      `Tables of the archive have columns of ${listNames(extensions)}, and an archive holds no part of a table: ${listNames(names)}.`,
      `${names.map((name) => `--exclude-table ${name.replaceAll('"', '')}`).join(' ')}\n-- or move the database directly: pgsluice clone leaves out single columns`,
    );
  }
  const left = `Left out: ${listNames(extensions)}`;
  return informed(
    gone.length === 0
      ? `${left}. Nothing stands on it.`
      : `${left}, with what stands on it: ${listNames(gone.map(entryWords), 500)}.`,
  );
}

/** Versions are those of the manifest; where an archive has none, the target's own stand in for them, and that is said. */
export async function examineExtensions(
  { toc, manifest, options, target }: ArchiveForTarget,
  scope: Scope,
): Promise<Verdict> {
  if (options.dataOnly) return skipped(DATA_ONLY);
  const chosen = chooseEntries(toc, options);
  const wanted = archiveExtensions(toc, chosen, manifest).filter(({ name }) => name !== 'plpgsql');
  if (wanted.length === 0) return passed('The archive makes none.');
  const names = wanted.map(({ name }) => name);
  const offered = (await offeredBy(target, names)).map((offer) =>
    options.replace && offer.installed?.ours === true ? { ...offer, installed: null } : offer,
  );
  const standing = offered.flatMap(({ name, installed }) => (installed === null || scope.ownTarget ? [] : [name]));
  const source = asInstalled(wanted, offered);
  const major = Number(/^\d+/.exec(manifest?.source.version.text ?? toc.serverVersion)?.[0] ?? 0);
  const verdict = judgeExtensions({
    source,
    offered,
    plans: planExtensions(source, offered, options.extensionVersion),
    rights: await readInstallRights(target),
    leftOut: false,
    replace: options.replace,
    allowOlder: options.allowDowngrade && target.version.major < major,
    used: usedExtensions(toc, chosen),
    filled: options.schemaOnly || standing.length === 0 ? [] : await readFilled(target, standing),
  });
  const unknown = wanted.filter(({ version }) => version === null).map(({ name }) => name);
  if (unknown.length === 0 || (verdict.outcome !== 'passed' && verdict.outcome !== 'info')) return verdict;
  const words = `The archive does not say in which version it had ${listNames(unknown)}: the target installs its own default.`;
  return informed(`${verdict.found} ${words}`);
}

/** Bytes of a stored row beside its text: header, line pointer and alignment. */
const ROW_BYTES = 28;

export async function examineDisk(
  { toc, manifest, options, target }: ArchiveForTarget,
  measured: ReadonlyMap<number, MeasuredData>,
): Promise<Verdict> {
  if (options.schemaOnly) return skipped('The job moves no rows.');
  const chosen = chooseEntries(toc, options);
  const text = toc.entries.flatMap(({ dumpId }) => (chosen.has(dumpId) ? (measured.get(dumpId) ?? []) : []));
  const tables =
    manifest === null
      ? text.reduce((sum, { rows, bytes }) => sum + bytes + rows * ROW_BYTES, 0)
      : manifest.tables
          .filter(({ schema, name }) => tableDataMatches(options, schema, name))
          .reduce((sum, { bytes }) => sum + bytes, 0);
  const large = carriesLargeObjects(options) ? (manifest?.largeObjects?.bytes ?? 0) : 0;
  const indexes = options.dataOnly ? 0 : manifest?.source.indexBytes;
  const dataBytes = tables + large + (indexes ?? 0);
  const verdict = judgeTargetDisk({
    sourceBytes: dataBytes,
    dataBytes,
    free: await readFree(target, options),
    maxWalBytes: await readMaxWal(target),
  });
  if (indexes !== undefined) return verdict;
  const found = `${verdict.found} The archive does not say how large its indexes were: they come on top.`;
  return verdict.outcome === 'passed' ? informed(found) : { ...verdict, found };
}

const UNTRUSTED = `
SELECT lanname::text AS name FROM pg_language WHERE NOT lanpltrusted AND lanname NOT IN ('internal', 'c')`;
/** The role came with 16. */
const MAY_SUBSCRIBE = `
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_create_subscription' AND pg_has_role(oid, 'USAGE')) AS may`;
/** Whether the target has it yet or not: names that PostgreSQL's own untrusted languages have. */
const UNTRUSTED_NAMES = ['plperlu', 'pltclu', 'plpythonu', 'plpython2u', 'plpython3u'];

/** What an ordinary role cannot make of the archive. */
async function readNotCarriedEntries({ toc, options, target }: ArchiveForTarget): Promise<NotCarriedEntries> {
  const languages = await target.session.query<{ name: string }>(UNTRUSTED);
  const { reserved } = await readRoleRights(target.session, target.identity.database);
  const actsAs = await readActsAs(target, options);
  return notCarriedEntries(
    toc,
    chooseEntries(toc, options),
    {
      untrusted: new Set([...UNTRUSTED_NAMES, ...languages.map(({ name }) => name)]),
      reserved,
      maySubscribe: (await target.one<{ may: boolean }>(MAY_SUBSCRIBE)).may,
      actsAs: (role) => actsAs(mappedRole(options.mapRole, role)),
    },
    { noAcl: options.noAcl || picksOut(options) },
  );
}

/** Says by name what an ordinary role leaves out; answers it for the import. */
export async function examineRights(
  input: ArchiveForTarget,
): Promise<{ readonly verdict: Verdict; readonly leftOut: ReadonlySet<string> }> {
  const { options, target } = input;
  const nothing = new Set<string>();
  if (options.dataOnly) return { verdict: skipped(DATA_ONLY), leftOut: nothing };
  const found = await readNotCarriedEntries(input);
  const told = {
    objects: found.objects.map(({ entry, why }) => asObject(entry, why)),
    with: found.with.map(entryWords),
    kept: found.kept.map(entryWords),
    grants: found.grants.map(grantWords),
  };
  const { superuser } = target.identity;
  const managed = await isManaged(target);
  const leftOut = superuser || isTried(managed, told) ? nothing : new Set(found.keys);
  return { verdict: judgeSuperuserObjects(superuser, managed, told), leftOut };
}

function asObject({ oid, type, schema, name, owner }: TocEntry, superuserWhy: string): CatalogObject {
  const kind = type === 'PROCEDURE' || type === 'AGGREGATE' ? 'FUNCTION' : type;
  const bare = name.replace(/^CAST \((.*)\)$/s, '$1').replace(/^TRANSFORM FOR /, '');
  return { oid, kind, schema, name: bare, relation: false, owner, grantees: [], superuserWhy, ours: false };
}

/** `index public.a`, as a person reads it. Pure. */
function entryWords({ type, schema, name }: Pick<TocEntry, 'type' | 'schema' | 'name'>): string {
  const [, user, server] = /^USER MAPPING (.*) SERVER (.*)$/s.exec(name) ?? [];
  if (user !== undefined && server !== undefined) return `user mapping for ${user} on server ${server}`;
  return `${type.toLowerCase()} ${schema === null ? '' : `${schema}.`}${name}`;
}

function grantWords(entry: TocEntry): string {
  if (entry.type !== 'DEFAULT ACL') {
    return entry.schema === null ? entry.name : entry.name.replace(' ', ` ${entry.schema}.`);
  }
  const what = entry.name.replace(/^DEFAULT PRIVILEGES FOR /, '').toLowerCase();
  return `default privileges on new ${what} belonging to role ${entry.owner}`;
}

/** By their names on the target. */
function needed(entries: readonly ArchiveEntry[], { mapRole }: Pick<JobOptions, 'mapRole'>): NeededRoles {
  const owners = new Map<string, string>();
  const others = new Map<string, string>();
  for (const entry of entries) {
    const where = entryWords(entry);
    for (const [role, acts] of rolesOfEntry(entry)) {
      const map = acts ? owners : others;
      const name = mappedRole(mapRole, role);
      if (!map.has(name)) map.set(name, where);
    }
  }
  for (const name of owners.keys()) others.delete(name);
  return { owners, others };
}

/** Roles that the archive names: whether they are there or can be made, may be acted as, and get what they had. */
export async function examineRoles(
  { manifest, options, target }: ArchiveForTarget,
  printed: readonly ArchiveEntry[],
  leftOut: ReadonlySet<string>,
): Promise<{ readonly roles: Verdict; readonly setOwner: Verdict; readonly attributes: Verdict }> {
  const { entries } = withoutLeftOut({ entries: printed }, leftOut).archive;
  const roles = needed(entries, options);
  const own = await readTargetRole(target);
  return {
    roles: judgeRoles(options, roles, own),
    setOwner: judgeSetOwner(options, roles, own),
    attributes: await examineAttributes(manifest, entries, options, target),
  };
}

async function examineAttributes(
  manifest: Manifest | null,
  entries: readonly ArchiveEntry[],
  options: JobOptions,
  target: Database,
): Promise<Verdict> {
  if (options.roles !== 'create') return skipped('The job makes no role.');
  const named = rolesNamed(entries, [], options);
  const plan = planRoles({
    roles: rolesOfArchive(manifest, named.all),
    actAs: named.actAs,
    verifiers: null,
    map: options.mapRole,
    target: await readRoleRights(target.session, target.identity.database),
    targetDatabase: target.identity.database,
  });
  const verdict = judgeRolePlan(target.identity.role, plan);
  if (manifest !== null || plan.created.length === 0) return verdict;
  const names = listNames(plan.created.map(quoteIdent));
  return warned(
    `The archive names ${names} and says nothing else of them: made as roles that may not log in and are members of nothing.`,
    'Give them what they had when the job is done.',
  );
}
