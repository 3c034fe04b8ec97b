import { throwIfAborted } from '../errors.ts';
import type { ArchiveEntry } from '../postgres/archive.ts';
import type { Session } from '../postgres/session.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import type { ServerVersion } from '../postgres/version.ts';
import { PG_CLASS } from './catalogue-oids.ts';
import { entryText } from './catalogue.ts';
import type { EntryPair } from './catalogue.ts';
import { differingFragments, equalButFor, equalButForOrder, fragmentQuery, fragmentsOf } from './fragments.ts';
import type { Fragment, FragmentPair, FragmentRow } from './fragments.ts';
import { sameGrants } from './grants.ts';
import { printTwin, twinOf } from './reparse.ts';
import { messageOf } from './rows.ts';
import type { Sides } from './sides.ts';
import { readableName } from './tables.ts';

/** `undecided`: the target does not allow what it takes to tell. */
export type Settlement =
  | { readonly verdict: 'same'; /** What a person should know about it all the same. */ readonly note?: string }
  | { readonly verdict: 'different' }
  | { readonly verdict: 'undecided'; readonly reason: string };

const DIFFERENT: Settlement = { verdict: 'different' };

/** No TEMP privilege, a server that does not write, a lock that somebody holds. */
export const FORBIDDEN: ReadonlySet<string> = new Set([
  SQLSTATE.insufficientPrivilege,
  SQLSTATE.readOnlySqlTransaction,
  SQLSTATE.lockNotAvailable,
]);

/** Event triggers of the target have no business with twins; only superusers may switch them off, for others they are rolled back. */
const BEGIN = `BEGIN READ WRITE; SET LOCAL lock_timeout = '10s'; SET LOCAL check_function_bodies = off;
SELECT set_config('session_replication_role', 'replica', true) FROM pg_roles WHERE rolname = current_user AND rolsuper`;

/** What one side printed of its objects, by their oids. */
type Printed = ReadonlyMap<number, readonly Fragment[]>;

export async function readFragments(session: Session, sql: string, oids: readonly number[]): Promise<Printed> {
  const rows = new Map<number, FragmentRow[]>();
  for (const row of await session.query<FragmentRow>(sql, [oids])) {
    const list = rows.get(Number(row.of)) ?? [];
    rows.set(Number(row.of), list);
    list.push(row);
  }
  return new Map([...rows].map(([oid, list]) => [oid, fragmentsOf(list)]));
}

/** The fragment as the target prints it when its own parser has read it; null when the target cannot read it. */
async function reprint(session: Session, fragment: Fragment): Promise<string | null> {
  const twin = twinOf(fragment);
  if (twin === null) return null;
  await session.run(BEGIN);
  try {
    return await printTwin(session, twin);
  } finally {
    if (!session.lost) await session.run('ROLLBACK');
  }
}

/** Both texts read by the same parser: equal at once, or after the target's own text went through it as often. */
export async function sameFragment(session: Session, pair: FragmentPair): Promise<boolean> {
  const reprinted = await reprint(session, pair.source);
  if (reprinted === null) return false;
  if (reprinted === pair.target.text) return true;
  return (await reprint(session, { ...pair.source, text: pair.target.text, detail: pair.target.detail })) === reprinted;
}

export interface SettleContext {
  readonly sides: Sides;
  readonly sourceVersion: ServerVersion;
  readonly targetVersion: ServerVersion;
  /** The source's entry with this dumpId. */
  readonly entryOf: (dumpId: number) => ArchiveEntry | undefined;
}

/** NOT NULL constraints have names from 18 on; before that there is nothing to compare a name with. */
export const NAMED_NOT_NULL = 18;
const NOT_NULL_NAMES = `
SELECT conrelid::int8::text AS oid, quote_ident(conname) AS name FROM pg_constraint WHERE contype = 'n' AND conrelid = ANY ($1::oid[])`;
export const HAS_PARENTS = `
SELECT DISTINCT c.oid::int8::text AS oid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE c.oid = ANY ($1::oid[]) AND NOT c.relispartition`;

export async function readNotNullNames(
  session: Session,
  oids: readonly number[],
): Promise<ReadonlyMap<number, string[]>> {
  const names = new Map<number, string[]>();
  for (const { oid, name } of await session.query<{ oid: string; name: string }>(NOT_NULL_NAMES, [oids])) {
    const list = names.get(Number(oid)) ?? [];
    names.set(Number(oid), list);
    list.push(name);
  }
  return names;
}

export function withoutNotNullNames(text: string, names: readonly string[]): string {
  return names.reduce((result, name) => result.replaceAll(` CONSTRAINT ${name} NOT NULL`, () => ' NOT NULL'), text);
}

/** What has to mean the same for a pair to be the same; `note`: said where it does. */
interface Open {
  readonly fragments: readonly FragmentPair[];
  readonly note: string | null;
}

/** Pairs that the same query reads. Pure. */
function queryOf({ source, target }: EntryPair): string | null {
  if (source.classOid !== target.classOid || source.oid === 0 || target.oid === 0) return null;
  return fragmentQuery(source.classOid);
}

/** The fragments on which the pairs of one catalogue depend; null for a pair that differs in more than these. */
async function readOpen(
  { sides, sourceVersion, targetVersion }: SettleContext,
  sql: string,
  pairs: readonly EntryPair[],
): Promise<(Open | null)[]> {
  const isTable = pairs[0]?.source.classOid === PG_CLASS;
  const named = { source: sourceVersion.major >= NAMED_NOT_NULL, target: targetVersion.major >= NAMED_NOT_NULL };
  const unnamed = isTable && named.source !== named.target;
  const [here, inherits, ourNames] = await sides.source(async (session) => {
    const oids = pairs.map(({ source }) => source.oid);
    const children = isTable ? await session.query<{ oid: string }>(HAS_PARENTS, [oids]) : [];
    return [
      await readFragments(session, sql, oids),
      new Set(children.map(({ oid }) => Number(oid))),
      unnamed && named.source ? await readNotNullNames(session, oids) : null,
    ];
  });
  const [there, names] = await sides.target(async (session) => {
    const oids = pairs.map(({ target }) => target.oid);
    return [
      await readFragments(session, sql, oids),
      unnamed && named.target ? await readNotNullNames(session, oids) : null,
    ];
  });
  return pairs.map(({ source, target }) => {
    const before = withoutNotNullNames(entryText(source), ourNames?.get(source.oid) ?? []);
    const theirs = there.get(target.oid) ?? [];
    // What the entry does not say, such as a constraint that was left out, need not be on the target.
    const ours = (here.get(source.oid) ?? []).filter(
      ({ kind, label, text }) =>
        before.includes(text) || theirs.some((other) => other.kind === kind && other.label === label),
    );
    const differing = differingFragments(ours, theirs);
    if (differing === null) return null;
    const after = withoutNotNullNames(entryText(target), names?.get(target.oid) ?? []);
    const fragments = equalButFor(before, after, differing);
    if (fragments !== null) return { fragments, note: null };
    const reordered = inherits.has(source.oid) ? equalButFor(before, after, differing, equalButForOrder) : null;
    if (reordered === null) return null;
    const name = readableName(source.schema, source.name);
    const note = `The columns of ${name} stand in another order on the target: a table that inherits gets its parents' columns first.`;
    return { fragments: reordered, note };
  });
}

function sameBut(note: string | null): Settlement {
  return note === null ? { verdict: 'same' } : { verdict: 'same', note };
}

async function settlePrinted(context: SettleContext, pair: EntryPair): Promise<Settlement> {
  const sql = queryOf(pair);
  const [open] = sql === null ? [] : await readOpen(context, sql, [pair]);
  if (open === undefined || open === null) return DIFFERENT;
  const same = await context.sides.twins(async (session) => {
    for (const fragments of open.fragments) if (!(await sameFragment(session, fragments))) return false;
    return true;
  });
  return same ? sameBut(open.note) : DIFFERENT;
}

/** Objects that are read, and twins that are made, in one round trip. */
const READ_TOGETHER = 500;
const MADE_TOGETHER = 50;

/**
 * Pairs that are the same, found in few round trips. A pair that is not among the answers may be anything, and is to be settled
 * by itself: so are all of a batch in which the target refused something.
 */
export async function settleTogether(
  context: SettleContext,
  pairs: readonly EntryPair[],
): Promise<Map<EntryPair, Settlement>> {
  const bySql = new Map<string, EntryPair[]>();
  for (const pair of pairs) {
    const sql = pair.source.type === 'ACL' ? null : queryOf(pair);
    if (sql !== null) bySql.set(sql, [...(bySql.get(sql) ?? []), pair]);
  }
  const settled = new Map<EntryPair, Settlement>();
  for (const [sql, all] of bySql) {
    for (let at = 0; at < all.length; at += READ_TOGETHER) {
      const chunk = all.slice(at, at + READ_TOGETHER);
      const read = await unlessRefused(context, () => readOpen(context, sql, chunk));
      const waiting = (read ?? []).flatMap((open, index) => {
        const pair = chunk[index];
        return open === null || pair === undefined ? [] : [{ pair, open }];
      });
      for (let from = 0; from < waiting.length; from += MADE_TOGETHER) {
        const batch = waiting.slice(from, from + MADE_TOGETHER);
        const same = await unlessRefused(context, () =>
          sameTogether(
            context,
            batch.map(({ open }) => open),
          ),
        );
        for (const [index, { pair, open }] of batch.entries())
          if (same?.[index] === true) settled.set(pair, sameBut(open.note));
      }
    }
  }
  return settled;
}

/** Null where a server refused it; the loss of a connection and the cancellation are thrown. */
async function unlessRefused<T>(context: SettleContext, work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    throwIfAborted(context.sides.signal);
    const state = sqlStateOf(error);
    if (state !== null && !state.startsWith('08') && !state.startsWith('57')) return null;
    throw error;
  }
}

/** Which of them consist of fragments that the target's parser reads as what it has. */
async function sameTogether(context: SettleContext, list: readonly Open[]): Promise<boolean[]> {
  const pairs = list.flatMap(({ fragments }) => fragments);
  const same = new Map<FragmentPair, boolean>();
  await context.sides.twins(async (session) => {
    const once = await reprintAll(
      session,
      pairs.map(({ source }) => source),
    );
    const again = pairs.flatMap((pair, index) => {
      const reprinted = once[index] ?? null;
      same.set(pair, reprinted !== null && reprinted === pair.target.text);
      return reprinted === null || reprinted === pair.target.text ? [] : [{ pair, reprinted }];
    });
    if (again.length === 0) return;
    const twice = await reprintAll(
      session,
      again.map(({ pair }) => ({ ...pair.source, text: pair.target.text, detail: pair.target.detail })),
    );
    for (const [index, { pair, reprinted }] of again.entries()) same.set(pair, twice[index] === reprinted);
  });
  return list.map(({ fragments }) => fragments.every((pair) => same.get(pair) === true));
}

/** `reprint` of several, in one round trip. */
async function reprintAll(session: Session, fragments: readonly Fragment[]): Promise<(string | null)[]> {
  const twins = fragments.map(twinOf);
  const sql = twins.flatMap((twin, at) =>
    twin === null
      ? []
      : [
          'SAVEPOINT pgsluice_twin',
          ...twin.statements,
          `SELECT ${at} AS pgsluice_at, x.text FROM (${twin.print}) x`,
          'ROLLBACK TO SAVEPOINT pgsluice_twin',
        ],
  );
  if (sql.length === 0) return fragments.map(() => null);
  try {
    const rows = await runForRows(session, [BEGIN, ...sql].join(';\n'));
    const texts = new Map<number, (string | null)[]>();
    for (const row of rows) {
      const at = row['pgsluice_at'];
      const text = row['text'];
      if (typeof at !== 'number') continue;
      texts.set(at, [...(texts.get(at) ?? []), typeof text === 'string' ? text : null]);
    }
    return twins.map((twin, at) => {
      const [text = null, ...more] = texts.get(at) ?? [];
      if (twin === null || text === null || more.length > 0) return null;
      return twin.restore === undefined ? text : twin.restore(text);
    });
  } finally {
    if (!session.lost) await session.run('ROLLBACK');
  }
}

/** The rows of all statements; the driver answers several with a list of results, which its types leave out. */
async function runForRows(session: Session, sql: string): Promise<Record<string, unknown>[]> {
  try {
    const result: { rows: Record<string, unknown>[] } | { rows: Record<string, unknown>[] }[] =
      await session.client.query(sql);
    return (Array.isArray(result) ? result : [result]).flatMap(({ rows }) => rows);
  } catch (error) {
    throw session.explain(error);
  }
}

/**
 * Decides whether two entries with different texts say the same (see reparse.ts). `same` only when all that differs are
 * printed views or expressions of which the target's parser makes the same, or what one of the versions cannot express; in
 * doubt they are different.
 */
export async function settle(context: SettleContext, pair: EntryPair): Promise<Settlement> {
  try {
    if (pair.source.type === 'ACL') return (await sameGrants(context, pair)) ? { verdict: 'same' } : DIFFERENT;
    return await settlePrinted(context, pair);
  } catch (error) {
    throwIfAborted(context.sides.signal);
    const state = sqlStateOf(error);
    if (state !== null && FORBIDDEN.has(state)) return { verdict: 'undecided', reason: messageOf(error) };
    // Every other refusal comes from the text itself: the target cannot read what the source has.
    if (state !== null && !state.startsWith('08') && !state.startsWith('57')) return DIFFERENT;
    throw error;
  }
}
