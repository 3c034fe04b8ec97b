import { throwIfAborted } from '../errors.ts';
import type { Session } from '../postgres/session.ts';
import { sqlStateOf } from '../postgres/sqlstate.ts';
import { sameTableGrants, withoutDumpVersion } from './archive-words.ts';
import { PG_CLASS } from './catalogue-oids.ts';
import { entryText } from './catalogue.ts';
import type { EntryPair } from './catalogue.ts';
import { equalButForOrder, fragmentQuery, printed } from './fragments.ts';
import type { Fragment, FragmentPair } from './fragments.ts';
import { messageOf } from './rows.ts';
import { FORBIDDEN, HAS_PARENTS, NAMED_NOT_NULL, readFragments, readNotNullNames } from './settle.ts';
import { sameFragment, withoutNotNullNames } from './settle.ts';
import type { Settlement } from './settle.ts';
import type { WithSession } from './sides.ts';
import { readableName } from './tables.ts';

export interface SettleArchiveContext {
  readonly target: WithSession;
  /** Sessions outside of any transaction, for temporary twins. */
  readonly twins: WithSession;
  readonly signal: AbortSignal;
  readonly sourceMajor: number;
  readonly targetMajor: number;
}

/** The MAINTAIN privilege came with 17 (PostgreSQL documentation, release notes E.17). */
const MAINTAIN_SINCE = 17;

/** Longer texts with more holes take a regular expression too long. */
const MOST_HOLES = 200;

function literal(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\/]/g, '\\$&');
}

/**
 * What `before` has in the places where `after` has its fragments, when the rest of both is the same; null when it is not. An
 * archive's server cannot be asked for its fragments, so they are read out of its text. Pure.
 */
export function fragmentsInstead(before: string, after: string, fragments: readonly Fragment[]): FragmentPair[] | null {
  const byLength = fragments.toSorted((a, b) => printed(b).length - printed(a).length);
  const holes: { at: number; end: number; fragment: Fragment }[] = [];
  for (const fragment of byLength) {
    const text = printed(fragment);
    if (text === '') continue;
    for (let at = after.indexOf(text); at >= 0; at = after.indexOf(text, at + 1)) {
      const end = at + text.length;
      // A part of a longer fragment, such as a condition within a view, is decided with it.
      if (!holes.some((hole) => at < hole.end && end > hole.at)) holes.push({ at, end, fragment });
    }
  }
  if (holes.length === 0 || holes.length > MOST_HOLES) return null;
  holes.sort((a, b) => a.at - b.at);
  let pattern = '';
  let from = 0;
  for (const { at, end, fragment } of holes) {
    const head = fragment.kind === 'default' ? 'DEFAULT ' : '';
    pattern += `${literal(after.slice(from, at))}${head}([\\s\\S]+?)`;
    from = end;
  }
  const match = new RegExp(`^${pattern}${literal(after.slice(from))}$`).exec(before);
  if (match === null) return null;
  return holes.flatMap(({ fragment }, index) => {
    const text = match[index + 1] ?? '';
    if (text === fragment.text) return [];
    return [
      { source: { ...fragment, text, detail: fragment.detail.replace(fragment.text, () => text) }, target: fragment },
    ];
  });
}

async function targetText(session: Session, context: SettleArchiveContext, pair: EntryPair): Promise<string> {
  const text = withoutDumpVersion(pair.target.type, entryText(pair.target), context.targetMajor);
  const unnamed = context.sourceMajor < NAMED_NOT_NULL && context.targetMajor >= NAMED_NOT_NULL;
  if (pair.target.classOid !== PG_CLASS || !unnamed) return text;
  const names = await readNotNullNames(session, [pair.target.oid]);
  return withoutNotNullNames(text, names.get(pair.target.oid) ?? []);
}

async function settlePrinted(context: SettleArchiveContext, pair: EntryPair): Promise<Settlement> {
  const { source, target } = pair;
  const words = (entry: EntryPair['source']): string =>
    withoutDumpVersion(entry.type, entryText(entry), context.targetMajor);
  if (words(source) === words(target)) return { verdict: 'same' };
  if (source.type === 'ACL' && context.sourceMajor < MAINTAIN_SINCE && context.targetMajor >= MAINTAIN_SINCE) {
    return { verdict: sameTableGrants(source, target) ? 'same' : 'different' };
  }
  const sql = source.classOid === target.classOid && target.oid !== 0 ? fragmentQuery(target.classOid) : null;
  if (sql === null) return { verdict: 'different' };
  const before = words(source);
  const { after, fragments, inherits } = await context.target(async (session) => ({
    after: await targetText(session, context, pair),
    fragments: (await readFragments(session, sql, [target.oid])).get(target.oid) ?? [],
    inherits: target.classOid === PG_CLASS && (await session.query(HAS_PARENTS, [[target.oid]])).length > 0,
  }));
  if (before === after) return { verdict: 'same' };
  if (inherits && equalButForOrder(before, after)) {
    const name = readableName(source.schema, source.name);
    const note = `The columns of ${name} stand in another order on the target: a table that inherits gets its parents' columns first.`;
    return { verdict: 'same', note };
  }
  const pairs = fragmentsInstead(before, after, fragments);
  if (pairs === null || pairs.length === 0) return { verdict: 'different' };
  const same = await context.twins(async (session) => {
    for (const one of pairs) if (!(await sameFragment(session, one))) return false;
    return true;
  });
  return { verdict: same ? 'same' : 'different' };
}

/** As `settle`, of an archive whose server cannot be asked: by the target's own parser alone. */
export async function settleFromArchive(context: SettleArchiveContext, pair: EntryPair): Promise<Settlement> {
  try {
    return await settlePrinted(context, pair);
  } catch (error) {
    throwIfAborted(context.signal);
    const state = sqlStateOf(error);
    if (state !== null && FORBIDDEN.has(state)) return { verdict: 'undecided', reason: messageOf(error) };
    // Every other refusal comes from the text itself: the target cannot read what the archive has.
    if (state !== null && !state.startsWith('08') && !state.startsWith('57')) return { verdict: 'different' };
    throw error;
  }
}
