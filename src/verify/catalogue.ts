import type { Archive, ArchiveEntry } from '../postgres/archive.ts';
import type { Difference } from '../contract/report.ts';
import { withDefaultsApart } from './defaults.ts';
import { readableName } from './tables.ts';

/** An entry of one side and its counterpart, whose texts differ. */
export interface EntryPair {
  readonly source: ArchiveEntry;
  readonly target: ArchiveEntry;
}

/** A constraint of the target whose validation is still to come. */
export interface PendingConstraint {
  readonly schema: string;
  readonly table: string;
  readonly name: string;
}

export interface CatalogueComparison {
  /** Entries of the source that were looked for on the target. */
  readonly compared: number;
  readonly missing: readonly ArchiveEntry[];
  readonly extra: readonly ArchiveEntry[];
  readonly different: readonly EntryPair[];
}

/** Kinds whose restore depends on default_tablespace: the setting is part of what the entry says. */
const tablespace = /^SET default_tablespace\b/;

/**
 * What an entry says, as one text. The order of grants in one entry follows the order in which they were made and means
 * nothing, all other statements keep theirs. The table access method is compared by tables.ts' catalogue query instead: the
 * setting in force for an entry that has none is whatever an earlier entry left behind.
 */
export function entryText(entry: ArchiveEntry): string {
  const statements = isGrant(entry.type) ? entry.statements.toSorted(compareText) : entry.statements;
  return [...entry.settings.filter((setting) => tablespace.test(setting)), ...statements].join('\n');
}

/** Grants and revocations of one entry concern different grantees or repeat the same state; REVOKE goes before GRANT. */
function isGrant(type: string): boolean {
  return type === 'ACL' || type === 'DEFAULT ACL';
}

function rank(statement: string): number {
  return statement.startsWith('REVOKE') ? 0 : 1;
}

function compareText(a: string, b: string): number {
  return rank(a) - rank(b) || (a < b ? -1 : a > b ? 1 : 0);
}

/**
 * Entries about the archive or the database as a whole, not about an object in it, and the refresh of materialized views:
 * whether they hold rows is read from the catalogues.
 */
const outside: ReadonlySet<string> = new Set([
  'ENCODING',
  'STDSTRINGS',
  'SEARCHPATH',
  'DATABASE',
  'DATABASE PROPERTIES',
  'MATERIALIZED VIEW DATA',
]);

function keyOf(entry: ArchiveEntry): string {
  return JSON.stringify([entry.type, entry.schema, entry.name]);
}

function groups(archive: Archive): Map<string, ArchiveEntry[]> {
  const grouped = new Map<string, ArchiveEntry[]>();
  for (const entry of archive.entries) {
    if (outside.has(entry.type)) continue;
    const key = keyOf(entry);
    const group = grouped.get(key);
    if (group === undefined) grouped.set(key, [entry]);
    else group.push(entry);
  }
  return grouped;
}

/**
 * Compares two archives made by the same pg_dump, entry by entry. Entries are matched by kind, schema and name; where
 * several share these (names are printed with line breaks as spaces; default privileges of several roles), equal ones are
 * matched first and the rest in their order. Pure.
 */
export function compareArchives(source: Archive, target: Archive): CatalogueComparison {
  const theirs = groups(withDefaultsApart(target, source));
  const missing: ArchiveEntry[] = [];
  const extra: ArchiveEntry[] = [];
  const different: EntryPair[] = [];
  let compared = 0;
  for (const [key, here] of groups(withDefaultsApart(source, target))) {
    compared += here.length;
    const there = [...(theirs.get(key) ?? [])];
    theirs.delete(key);
    const unmatched = here.filter((entry) => {
      const text = entryText(entry);
      const at = there.findIndex((other) => entryText(other) === text);
      if (at >= 0) there.splice(at, 1);
      return at < 0;
    });
    for (const entry of unmatched) {
      const other = there.shift();
      if (other === undefined) missing.push(entry);
      else different.push({ source: entry, target: other });
    }
    extra.push(...there);
  }
  for (const group of theirs.values()) extra.push(...group);
  return { compared, missing, extra, different };
}

/**
 * The entry's name as a person would write it. pg_dump names what hangs on a table `table object`, functions with their
 * arguments, and grants and comments with the kind of their object: those stay as they are.
 */
export function entryName(entry: Pick<ArchiveEntry, 'type' | 'schema' | 'name'>): string {
  const whole = new Set(['TABLE', 'VIEW', 'MATERIALIZED VIEW', 'FOREIGN TABLE', 'SEQUENCE', 'INDEX', 'TYPE', 'DOMAIN']);
  if (whole.has(entry.type)) return readableName(entry.schema, entry.name);
  return entry.schema === null ? entry.name : `${readableName(null, entry.schema)}.${entry.name}`;
}

/** Where two long texts part: a change deep in a long definition must be seen in a report that shortens both. */
export function excerpt(text: string, other: string): string {
  const LEAD = 200;
  if (text.length <= 2000) return text;
  let at = 0;
  while (at < text.length && at < other.length && text[at] === other[at]) at += 1;
  return at <= LEAD ? text : `…${text.slice(at - LEAD)}`;
}

/** pg_restore prints the line breaks of names as spaces. */
function printedName(name: string): string {
  return name.replaceAll(/[\r\n]/g, ' ');
}

/** True when a foreign key differs only by a NOT VALID that is to be taken away by its validation. Pure. */
export function awaitsValidation({ source, target }: EntryPair, pending: readonly PendingConstraint[]): boolean {
  if (source.type !== 'FK CONSTRAINT') return false;
  const known = pending.some(
    ({ schema, table, name }) => schema === source.schema && printedName(`${table} ${name}`) === source.name,
  );
  return known && entryText(target).replace(/ NOT VALID;$/, ';') === entryText(source);
}

export function missingDifference(entry: ArchiveEntry): Difference {
  return { kind: entry.type, name: entryName(entry), change: 'missing', source: entryText(entry), target: null };
}

export function extraDifference(entry: ArchiveEntry): Difference {
  return { kind: entry.type, name: entryName(entry), change: 'extra', source: null, target: entryText(entry) };
}

export function pairDifference({ source, target }: EntryPair): Difference {
  const [here, there] = [entryText(source), entryText(target)];
  return {
    kind: source.type,
    name: entryName(source),
    change: 'different',
    source: excerpt(here, there),
    target: excerpt(there, here),
  };
}
