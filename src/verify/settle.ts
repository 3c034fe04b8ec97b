import { throwIfAborted } from '../errors.ts';
import type { Session } from '../postgres/session.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import { entryText } from './catalogue.ts';
import type { EntryPair } from './catalogue.ts';
import { differingFragments, equalButFor, fragmentQuery, fragmentsOf } from './fragments.ts';
import type { Fragment, FragmentPair, FragmentRow } from './fragments.ts';
import { printTwin, twinOf } from './reparse.ts';
import { messageOf } from './rows.ts';
import type { Sides } from './sides.ts';

/** `undecided`: the target does not allow what it takes to tell. */
export type Settlement =
  | { readonly verdict: 'same' }
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

/**
 * Decides whether two entries with different texts say the same (see reparse.ts). `same` only when all that differs are
 * printed views or expressions, and the target's parser makes the same of each; in doubt they are different.
 */
export async function settle(sides: Sides, pair: EntryPair): Promise<Settlement> {
  const { source, target } = pair;
  const sql = fragmentQuery(source.classOid);
  if (sql === null || source.classOid !== target.classOid || source.oid === 0 || target.oid === 0) return DIFFERENT;
  try {
    const here = await sides.source((session) => readFragments(session, sql, source.oid));
    return await sides.target(async (session) => {
      const there = await readFragments(session, sql, target.oid);
      const differing = differingFragments(here, there);
      if (differing === null || differing.length === 0) return DIFFERENT;
      const decisive = equalButFor(entryText(source), entryText(target), differing);
      if (decisive === null || decisive.length === 0) return DIFFERENT;
      for (const fragments of decisive) if (!(await sameFragment(session, fragments))) return DIFFERENT;
      return { verdict: 'same' };
    });
  } catch (error) {
    throwIfAborted(sides.signal);
    const state = sqlStateOf(error);
    if (state !== null && FORBIDDEN.has(state)) return { verdict: 'undecided', reason: messageOf(error) };
    // Every other refusal comes from the text itself: the target cannot read what the source has.
    if (state !== null && !state.startsWith('08') && !state.startsWith('57')) return DIFFERENT;
    throw error;
  }
}
