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
const FORBIDDEN: ReadonlySet<string> = new Set([
  SQLSTATE.insufficientPrivilege,
  SQLSTATE.readOnlySqlTransaction,
  SQLSTATE.lockNotAvailable,
]);

/** Event triggers of the target have no business with twins; only superusers may switch them off, for others they are rolled back. */
const BEGIN = `BEGIN READ WRITE; SET LOCAL lock_timeout = '10s'; SET LOCAL check_function_bodies = off;
SELECT set_config('session_replication_role', 'replica', true) FROM pg_roles WHERE rolname = current_user AND rolsuper`;

async function readFragments(session: Session, sql: string, oid: number): Promise<Fragment[]> {
  return fragmentsOf(await session.query<FragmentRow>(sql, [oid]));
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
async function sameFragment(session: Session, pair: FragmentPair): Promise<boolean> {
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
const NAMED_NOT_NULL = 18;
const NOT_NULL_NAMES = `SELECT quote_ident(conname) AS name FROM pg_constraint WHERE contype = 'n' AND conrelid = $1`;
const HAS_PARENTS = `SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE c.oid = $1 AND NOT c.relispartition`;

async function withoutNotNullNames(session: Session, text: string, oid: number): Promise<string> {
  let result = text;
  for (const { name } of await session.query<{ name: string }>(NOT_NULL_NAMES, [oid])) {
    result = result.replaceAll(` CONSTRAINT ${name} NOT NULL`, () => ' NOT NULL');
  }
  return result;
}

async function settlePrinted(
  { sides, sourceVersion, targetVersion }: SettleContext,
  pair: EntryPair,
): Promise<Settlement> {
  const { source, target } = pair;
  const sql = fragmentQuery(source.classOid);
  if (sql === null || source.classOid !== target.classOid || source.oid === 0 || target.oid === 0) return DIFFERENT;
  const isTable = source.classOid === PG_CLASS;
  const [here, inherits] = await sides.source(async (session) => [
    await readFragments(session, sql, source.oid),
    isTable && (await session.query(HAS_PARENTS, [source.oid])).length > 0,
  ]);
  const unnamed = isTable && sourceVersion.major < NAMED_NOT_NULL && targetVersion.major >= NAMED_NOT_NULL;
  const [there, after] = await sides.target(async (session) => [
    await readFragments(session, sql, target.oid),
    unnamed ? await withoutNotNullNames(session, entryText(target), target.oid) : entryText(target),
  ]);
  const differing = differingFragments(here, there);
  if (differing === null) return DIFFERENT;
  const before = entryText(source);
  let decisive = equalButFor(before, after, differing);
  const reordered = decisive === null && inherits;
  if (reordered) decisive = equalButFor(before, after, differing, equalButForOrder);
  if (decisive === null) return DIFFERENT;
  const pairs = decisive;
  const same = await sides.twins(async (session) => {
    for (const fragments of pairs) if (!(await sameFragment(session, fragments))) return false;
    return true;
  });
  if (!same) return DIFFERENT;
  if (!reordered) return { verdict: 'same' };
  const name = readableName(source.schema, source.name);
  return {
    verdict: 'same',
    note: `The columns of ${name} stand in another order on the target: a table that inherits gets its parents' columns first.`,
  };
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
