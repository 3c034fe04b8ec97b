import type { Archive, ArchiveEntry } from '../postgres/archive.ts';
import { isOwnObject } from '../postgres/own-objects.ts';
import { qualified, quoteIdent } from '../postgres/quote.ts';
import type { DriftPause } from './drift-judge.ts';

export interface ArchiveDiff {
  /** In the order of the fresh archive. */
  readonly added: readonly ArchiveEntry[];
  /** In the order of the old one. */
  readonly removed: readonly ArchiveEntry[];
  readonly changed: readonly { readonly old: ArchiveEntry; readonly fresh: ArchiveEntry }[];
  /** Those of both archives that the cutover makes: triggers, foreign keys …, and what is said about them. */
  readonly atCutover: ReadonlySet<ArchiveEntry>;
}

/** Entries about the dump itself, or about rows. */
const OUTSIDE: ReadonlySet<string> = new Set([
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

function textOf(entry: ArchiveEntry): string {
  // The order of grants is that in which they were made.
  const statements =
    entry.type === 'ACL' || entry.type === 'DEFAULT ACL' ? entry.statements.toSorted() : entry.statements;
  return statements.join('\n');
}

/** What the fresh archive has that the old one has not, entry by entry; entries are known by type, schema and name. Pure. */
export function diffArchives(old: Archive, fresh: Archive): ArchiveDiff {
  const part = (archive: Archive): ArchiveEntry[] =>
    archive.entries.filter((entry) => !OUTSIDE.has(entry.type) && !isOwnObject(entry));
  const earlier = new Map<string, ArchiveEntry[]>();
  for (const entry of part(old)) {
    const key = keyOf(entry);
    earlier.set(key, [...(earlier.get(key) ?? []), entry]);
  }
  const added: ArchiveEntry[] = [];
  const changed: { old: ArchiveEntry; fresh: ArchiveEntry }[] = [];
  const open: ArchiveEntry[] = [];
  // Several entries may share a name; equal ones are matched before any is called changed.
  for (const entry of part(fresh)) {
    const candidates = earlier.get(keyOf(entry)) ?? [];
    const at = candidates.findIndex((other) => textOf(other) === textOf(entry));
    if (at >= 0) candidates.splice(at, 1);
    else open.push(entry);
  }
  for (const entry of open) {
    const other = earlier.get(keyOf(entry))?.shift();
    if (other === undefined) added.push(entry);
    else changed.push({ old: other, fresh: entry });
  }
  const left = new Set([...earlier.values()].flat());
  const removed = old.entries.filter((entry) => left.has(entry));
  return { added, removed, changed, atCutover: new Set([...madeAtCutover(old), ...madeAtCutover(fresh)]) };
}

/** A comment or privilege on a trigger has to wait for it. */
function madeAtCutover(archive: Archive): ArchiveEntry[] {
  const ids = new Set<number>();
  return archive.entries.filter((entry) => {
    const about = entry.section === 'post-data' && entry.dependencies.some((id) => ids.has(id));
    if (!AT_CUTOVER.has(entry.type) && !about) return false;
    // 0 stands for entries without an identity of their own.
    if (entry.section === 'post-data' && entry.dumpId !== 0) ids.add(entry.dumpId);
    return true;
  });
}

/** Made by the cutover from the archive that is then the newest; nothing has to be done before. */
const AT_CUTOVER: ReadonlySet<string> = new Set([
  'FK CONSTRAINT',
  'TRIGGER',
  'RULE',
  'POLICY',
  'ROW SECURITY',
  'EVENT TRIGGER',
  'ACL',
  'DEFAULT ACL',
  'ACL LANGUAGE',
  'PUBLICATION',
  'PUBLICATION TABLE',
  'PUBLICATION TABLES IN SCHEMA',
  'SUBSCRIPTION',
  'SUBSCRIPTION TABLE',
]);

/** Read from the catalogue instead, where a change is exact (drift-diff.ts). */
const BY_SHAPE: ReadonlySet<string> = new Set([
  'TABLE',
  'UNLOGGED TABLE',
  'TABLE ATTACH',
  'DEFAULT',
  'CONSTRAINT',
  'CHECK CONSTRAINT',
]);

/** Nothing depends on them and they change no row. */
const ASIDE: ReadonlySet<string> = new Set(['INDEX', 'INDEX ATTACH', 'STATISTICS', 'COMMENT', 'SECURITY LABEL']);

const REPLACEABLE = /^CREATE (FUNCTION|PROCEDURE|AGGREGATE|VIEW) /;

export interface ArchivePlan {
  /** For the target before the cutover: what is gone or different, each to be run by itself, in this order. */
  readonly statements: readonly string[];
  /** Entries to restore on the target after these statements and before the cutover, in archive order. */
  readonly restore: readonly ArchiveEntry[];
  readonly pause: DriftPause | null;
}

function isByShape(entry: ArchiveEntry): boolean {
  return (
    BY_SHAPE.has(entry.type) ||
    (entry.type === 'INDEX' && entry.statements[0]?.startsWith('CREATE UNIQUE INDEX') === true)
  );
}

/** `ALTER … OWNER TO …;` names the object exactly as a DROP has to. */
function identityOf(entry: ArchiveEntry): string {
  for (const statement of entry.statements) {
    const owner = /^ALTER [A-Z ]+? ("?[^]*) OWNER TO [^]*;$/.exec(statement);
    if (owner?.[1] !== undefined) return owner[1];
  }
  const open = entry.name.indexOf('(');
  const [name, rest] = open < 0 ? [entry.name, ''] : [entry.name.slice(0, open), entry.name.slice(open)];
  return (entry.schema === null ? quoteIdent(name) : qualified(entry.schema, name)) + rest;
}

/** Statements that take a removed entry away; none for what is only a property of another object. */
function dropEntry(entry: ArchiveEntry): string[] {
  if (entry.type === 'COMMENT') {
    const comment = /^(COMMENT ON [^]*?) IS E?'/.exec(entry.statements[0] ?? '');
    return comment?.[1] === undefined ? [] : [`${comment[1]} IS NULL;`];
  }
  if (['SECURITY LABEL', 'INDEX ATTACH', 'SEQUENCE OWNED BY'].includes(entry.type)) return [];
  const word = entry.type === 'SHELL TYPE' ? 'TYPE' : entry.type;
  return [`DROP ${word} IF EXISTS ${identityOf(entry)};`];
}

interface Step {
  readonly statements: string[];
  /** May be run without asking. */
  readonly quiet: boolean;
  readonly text: string;
}

function nameOf(entry: ArchiveEntry): string {
  return `${entry.type} ${entry.schema === null ? '' : `${entry.schema}.`}${entry.name}`;
}

function changeEntry(old: ArchiveEntry, fresh: ArchiveEntry): Step {
  const ownerless = (entry: ArchiveEntry): string[] =>
    entry.statements.filter((statement) => !/^ALTER [^]* OWNER TO [^]*;$/.test(statement));
  const text = `${nameOf(fresh)} is different`;
  if (ownerless(old).join('\n') === ownerless(fresh).join('\n')) {
    const statements = fresh.statements.filter((statement) => !old.statements.includes(statement));
    return { statements, quiet: true, text };
  }
  if (fresh.type === 'COMMENT' || fresh.type === 'SECURITY LABEL') {
    return { statements: [...fresh.statements], quiet: true, text };
  }
  const [first, ...rest] = fresh.statements;
  if (first !== undefined && REPLACEABLE.test(first)) {
    return { statements: [first.replace(/^CREATE /, 'CREATE OR REPLACE '), ...rest], quiet: true, text };
  }
  const remade = ['INDEX', 'STATISTICS', 'MATERIALIZED VIEW'].includes(fresh.type);
  if (remade) return { statements: [...dropEntry(old), ...fresh.statements], quiet: ASIDE.has(fresh.type), text };
  // No statement leads from one to the other for certain: the definition as it is now says what is wanted.
  return { statements: [], quiet: false, text: `${text}; on the source it is now: ${fresh.statements.join(' ')}` };
}

/**
 * What has to be done on the target before the cutover so that the fresh archive's last part fits. Comments, owners, functions,
 * views and plain indexes are brought along quietly; other additions and removals only when the user allowed it. What concerns
 * tables is left to the catalogue (planChanges). Pure.
 */
export function planArchive(diff: ArchiveDiff, options: { readonly carry: boolean }): ArchivePlan {
  const matters = (entry: ArchiveEntry): boolean => !diff.atCutover.has(entry) && !isByShape(entry);
  const steps: Step[] = [
    ...diff.removed
      .filter(matters)
      .toReversed()
      .map((entry) => ({
        statements: dropEntry(entry),
        quiet: ASIDE.has(entry.type),
        text: `${nameOf(entry)} is gone`,
      }))
      .filter((step) => step.statements.length > 0),
    ...diff.changed.filter(({ fresh }) => matters(fresh)).map(({ old, fresh }) => changeEntry(old, fresh)),
  ];
  const added = diff.added.filter(matters);
  const asked = added.filter((entry) => !ASIDE.has(entry.type));
  const runs = (step: Step): boolean => step.quiet || (options.carry && step.statements.length > 0);
  const byHand = steps.filter((step) => !runs(step));
  const handMade = options.carry ? [] : asked;
  const pause: DriftPause | null =
    byHand.length + handMade.length === 0
      ? null
      : {
          message: `The source's schema has changed: ${[
            ...byHand.map((step) => step.text),
            ...handMade.map((entry) => `${nameOf(entry)} is new`),
          ].join('; ')}.`,
          statements: [...byHand.flatMap((step) => step.statements), ...handMade.flatMap((entry) => entry.statements)],
          sourceStatements: [],
          onResume: [],
        };
  return {
    statements: steps.filter(runs).flatMap((step) => step.statements),
    restore: added.filter((entry) => !handMade.includes(entry)),
    pause,
  };
}
