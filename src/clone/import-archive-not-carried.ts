import type { Toc, TocEntry } from '../postgres/archive-toc.ts';
import { grantKey, objectKey } from '../postgres/left-out.ts';
import { standingOn } from './import-archive-extensions.ts';

/** What of the target decides what its role can make of an archive. */
export interface OrdinaryTarget {
  /** Languages in which only superusers write functions. */
  readonly untrusted: ReadonlySet<string>;
  /** Parameters that only superusers set, in lower case. */
  readonly reserved: ReadonlySet<string>;
  readonly maySubscribe: boolean;
  /** Whether it may act as this role, by its name in the archive. */
  readonly actsAs: (role: string) => boolean;
}

export interface NotCarriedEntries {
  /** Entries that only a superuser makes, each with why. */
  readonly objects: readonly { readonly entry: TocEntry; readonly why: string }[];
  /** What stands on them and goes with them. */
  readonly with: readonly TocEntry[];
  /** Tables, and what belongs to them, that stand on them: reason enough not to begin. */
  readonly kept: readonly TocEntry[];
  /** Grants on what the archive does not make, and by default on what other roles make. */
  readonly grants: readonly TocEntry[];
  /** All of it for the import: see postgres/left-out.ts. */
  readonly keys: readonly string[];
}

const always: Readonly<Record<string, string>> = {
  'ACCESS METHOD': 'it is an access method',
  'EVENT TRIGGER': 'it is an event trigger',
  'FOREIGN DATA WRAPPER': 'it is a foreign data wrapper',
  'OPERATOR CLASS': 'it is an operator class',
  'OPERATOR FAMILY': 'it is an operator family',
  'PROCEDURAL LANGUAGE': 'it is a procedural language',
  'TEXT SEARCH PARSER': 'it is a text search parser',
  'TEXT SEARCH TEMPLATE': 'it is a text search template',
};

/** Rows, or what guards and shows them: nothing of it is left out, whatever it stands on. */
const keptTypes: ReadonlySet<string> = new Set([
  'CHECK CONSTRAINT',
  'CONSTRAINT',
  'DEFAULT',
  'FK CONSTRAINT',
  'FOREIGN TABLE',
  'INDEX',
  'MATERIALIZED VIEW',
  'POLICY',
  'RULE',
  'SEQUENCE',
  'STATISTICS',
  'TABLE',
  'TRIGGER',
  'VIEW',
]);

/** What only says something about another entry, or is a part of it. */
const attached: ReadonlySet<string> = new Set([
  'ACL',
  'COMMENT',
  'INDEX ATTACH',
  'PUBLICATION TABLE',
  'PUBLICATION TABLES IN SCHEMA',
  'SECURITY LABEL',
  'SHELL TYPE',
  'SUBSCRIPTION TABLE',
  'TABLE ATTACH',
]);
const dataTypes: ReadonlySet<string> = new Set(['BLOBS', 'MATERIALIZED VIEW DATA', 'SEQUENCE SET', 'TABLE DATA']);

const PG_DEFAULT_ACL = 826;

/** Why only a superuser makes this entry, by the words pg_dump has written; null where everybody may. Pure. */
export function superuserWhy({ type, definition }: TocEntry, target: OrdinaryTarget): string | null {
  switch (type) {
    case 'FUNCTION':
    case 'PROCEDURE':
      return whyOfFunction(definition, target);
    case 'AGGREGATE':
      return /\bM?STYPE = internal\b/.test(definition) ? 'its state is of type internal' : null;
    case 'TYPE':
      if (/^CREATE TYPE .* \(\n {4}INTERNALLENGTH = /s.test(definition)) return 'it is a base type';
      return /^CREATE TYPE [^(]*;\s*$/.test(definition) && !/ AS\b/.test(definition)
        ? 'it was announced and never defined'
        : null;
    case 'PUBLICATION':
      return / FOR ALL TABLES\b/.test(definition) ? 'it publishes ALL TABLES' : null;
    case 'SUBSCRIPTION':
      return target.maySubscribe ? null : 'it is a subscription';
    case 'CAST':
      if (/ WITHOUT FUNCTION\b/.test(definition)) return 'it casts WITHOUT FUNCTION';
      return /^CREATE CAST \([^.]*\) WITH /.test(definition) ? 'both of its types belong to PostgreSQL itself' : null;
    case 'TRANSFORM':
      return /^CREATE TRANSFORM FOR [^.]* LANGUAGE /.test(definition) ? 'its type belongs to PostgreSQL itself' : null;
    default:
      return always[type] ?? null;
  }
}

function whyOfFunction(definition: string, { untrusted, reserved }: OrdinaryTarget): string | null {
  // pg_dump puts the attributes on one line, the settings on one each, and the body last.
  const [, language = '', attributes = ''] = /\n {4}LANGUAGE (\S+)([^\n]*)/.exec(definition) ?? [];
  if (language === 'c' || language === 'internal') return 'it is written in C';
  if (untrusted.has(language)) return `its language ${language} is untrusted`;
  if (/ LEAKPROOF\b/.test(attributes)) return 'it is LEAKPROOF';
  if (/ SUPPORT /.test(attributes)) return 'it has a SUPPORT function';
  const head = definition.split(/\n {4}AS |\nBEGIN ATOMIC|\n {4}RETURN /)[0] ?? '';
  for (const [, name = ''] of head.matchAll(/\n {4}SET "?([\w.]+)"? TO /g))
    if (reserved.has(name.toLowerCase())) return `it sets ${name}, which only superusers may`;
  return null;
}

/**
 * What a role without any superuser right cannot make of the chosen entries, and what goes with it. Grants are left alone with
 * `noAcl`, owners decide nothing here. Pure.
 */
export function notCarriedEntries(
  toc: Toc,
  chosen: ReadonlySet<number>,
  target: OrdinaryTarget,
  { noAcl }: { readonly noAcl: boolean },
): NotCarriedEntries {
  const entries = toc.entries.filter(({ dumpId }) => chosen.has(dumpId));
  const ofSchemas = new Set(
    entries.filter(({ type }) => type === 'PUBLICATION TABLES IN SCHEMA').flatMap(({ dependencies }) => dependencies),
  );
  const objects = entries.flatMap((entry) => {
    const why =
      superuserWhy(entry, target) ??
      (entry.type === 'PUBLICATION' && ofSchemas.has(entry.dumpId) ? 'it publishes TABLES IN SCHEMA' : null);
    return why === null ? [] : [{ entry, why }];
  });
  const roots = objects.map(({ entry }) => entry);
  // A base type's functions stand on its announcement.
  const types = new Set(roots.filter(({ type }) => type === 'TYPE').map(({ schema, name }) => grantKey(schema, name)));
  const announced = entries.filter(
    ({ type, schema, name }) => type === 'SHELL TYPE' && types.has(grantKey(schema, name)),
  );
  const lost = closure(toc, [...roots, ...announced], chosen);
  const own = new Set(roots);
  const dependents = lost.filter((entry) => !own.has(entry) && !attached.has(entry.type));
  const made = new Set(
    toc.entries.filter(({ type }) => !attached.has(type) && type !== 'EXTENSION').map(({ dumpId }) => dumpId),
  );
  const grants = noAcl
    ? []
    : entries.filter((entry) =>
        entry.type === 'DEFAULT ACL' ? !target.actsAs(roleOfDefaults(entry)) : isForeignGrant(entry, made),
      );
  const kept = dependents.filter(({ type }) => keptTypes.has(type));
  const standing = [...roots, ...dependents.filter(({ type }) => !keptTypes.has(type))];
  // pg_dump gives it no dependency.
  const servers = standing.filter(({ type }) => type === 'SERVER').map(({ name }) => ` SERVER ${name}`);
  const mappings = entries.filter(
    (entry) => entry.type === 'USER MAPPING' && servers.some((server) => entry.name.endsWith(server)),
  );
  const gone = [...new Set([...standing, ...mappings])];
  return {
    objects,
    with: gone.filter((entry) => !own.has(entry)),
    kept,
    grants,
    keys: [
      ...gone.map(({ classOid, oid }) => objectKey(classOid, oid)),
      ...grants.map((entry) =>
        entry.type === 'DEFAULT ACL' ? objectKey(PG_DEFAULT_ACL, entry.oid) : grantKey(entry.schema, entry.name),
      ),
    ],
  };
}

/** What cannot stand without these entries; where that would be rows, the walk stops. */
function closure(toc: Toc, roots: readonly TocEntry[], chosen: ReadonlySet<number>): TocEntry[] {
  const ids = standingOn(toc, roots, (entry, next) => !keptTypes.has(entry.type) && !isBesideTransform(entry, next));
  return toc.entries.filter(({ dumpId, type }) => ids.has(dumpId) && chosen.has(dumpId) && !dataTypes.has(type));
}

/** Functions of a type and language are noted beside its transform, whether they name it or not. */
function isBesideTransform({ type }: TocEntry, next: TocEntry): boolean {
  if (type !== 'TRANSFORM' || (next.type !== 'FUNCTION' && next.type !== 'PROCEDURE')) return false;
  return !/\n {4}(?:LANGUAGE [^\n]*)?TRANSFORM FOR TYPE /.test(next.definition);
}

/** `ALTER DEFAULT PRIVILEGES FOR ROLE a …`. */
function roleOfDefaults({ definition, owner }: TocEntry): string {
  const [, name] = /^ALTER DEFAULT PRIVILEGES FOR ROLE ("(?:[^"]|"")*"|\S+) /.exec(definition) ?? [];
  if (name === undefined) return owner;
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name;
}

/**
 * Grants on what the server or an extension brings belong to whoever owns that. The schema public, the database and large objects are
 * made by nobody either, and may be the role's own.
 */
function isForeignGrant({ type, schema, name, dependencies }: TocEntry, made: ReadonlySet<number>): boolean {
  if (type !== 'ACL' || name.startsWith('DATABASE ') || /^LARGE OBJECTS? /.test(name)) return false;
  if (schema === null && name === 'SCHEMA public') return false;
  return !dependencies.some((id) => made.has(id));
}
