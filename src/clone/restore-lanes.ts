import type { RestoreProblem } from '../contract/report.ts';
import type { ArchiveEntry } from '../postgres/archive.ts';
import type { Session } from '../postgres/session.ts';
import { BATCH_ENTRIES, isLeftOut, restoreBatch, restoreEntries, restoreEntry } from './restore.ts';

/** What depends on nothing but what its entry names: these may be made in another order than the archive's. */
const RELATIONS: ReadonlySet<string> = new Set(['TABLE', 'VIEW', 'SEQUENCE']);
const PARTS: ReadonlySet<string> = new Set(['SEQUENCE OWNED BY', 'TABLE ATTACH', 'DEFAULT', 'COMMENT']);

/** Fewer entries in a row are not worth a second connection. */
export const SHORTEST_RUN = 400;

/** Entries in the archive's order; `side by side`: entries of different lanes do not need each other. */
export type Stretch =
  | { readonly how: 'in order'; readonly entries: readonly ArchiveEntry[] }
  | {
      readonly how: 'side by side';
      readonly entries: readonly ArchiveEntry[];
      readonly lanes: readonly (readonly ArchiveEntry[])[];
    };

/**
 * Cuts an archive's definitions into stretches. Everything but relations and their parts stays where it is, with all that stands
 * before it made before it: an expression may need a cast or an operator class of which no dependency tells. Pure.
 */
export function planStretches(entries: readonly ArchiveEntry[], lanes: number, shortest = SHORTEST_RUN): Stretch[] {
  const relations = new Set(entries.filter(({ type }) => RELATIONS.has(type)).map(({ dumpId }) => dumpId));
  const movable = (entry: ArchiveEntry): boolean =>
    RELATIONS.has(entry.type) ||
    (PARTS.has(entry.type) && entry.dependencies.length > 0 && entry.dependencies.every((id) => relations.has(id)));
  const stretches: { how: Stretch['how']; entries: ArchiveEntry[] }[] = [];
  for (const entry of entries) {
    const how = movable(entry) ? 'side by side' : 'in order';
    const open = stretches.at(-1);
    if (open?.how === how) open.entries.push(entry);
    else stretches.push({ how, entries: [entry] });
  }
  const planned: Stretch[] = [];
  for (const { how, entries: list } of stretches) {
    const last = planned.at(-1);
    if (how === 'side by side' && lanes > 1 && list.length >= shortest)
      planned.push({ how, entries: list, lanes: spread(list, relations, lanes) });
    else if (last?.how === 'in order')
      planned[planned.length - 1] = { how: 'in order', entries: [...last.entries, ...list] };
    else planned.push({ how: 'in order', entries: list });
  }
  return planned;
}

/** What is connected, directly or by a relation of another stretch, stays together and in order. */
function spread(
  entries: readonly ArchiveEntry[],
  relations: ReadonlySet<number>,
  lanes: number,
): readonly (readonly ArchiveEntry[])[] {
  const leaders = new Map<number, number>();
  const leaderOf = (id: number): number => {
    let at = id;
    for (let up = leaders.get(at); up !== undefined && up !== at; up = leaders.get(at)) {
      leaders.set(at, leaders.get(up) ?? up);
      at = up;
    }
    return at;
  };
  for (const { dumpId, dependencies } of entries) {
    for (const id of dependencies) if (relations.has(id)) leaders.set(leaderOf(dumpId), leaderOf(id));
  }
  const sizes = new Map<number, number>();
  for (const { dumpId } of entries) sizes.set(leaderOf(dumpId), (sizes.get(leaderOf(dumpId)) ?? 0) + 1);
  const load = Array.from({ length: lanes }, () => 0);
  const laneOf = new Map<number, number>();
  for (const [leader, size] of sizes) {
    const lane = load.indexOf(Math.min(...load));
    laneOf.set(leader, lane);
    load[lane] = (load[lane] ?? 0) + size;
  }
  // In the archive's order also within a lane: an entry's settings leave out what no entry before it has set.
  return load
    .map((_, lane) => entries.filter(({ dumpId }) => laneOf.get(leaderOf(dumpId)) === lane))
    .filter((lane) => lane.length > 0);
}

/**
 * Restores entries like `restoreEntries`, long rows of relations over several sessions. Whatever is refused there is made again
 * when all lanes have ended, one by one in the archive's order: what is refused then is refused for good.
 * @returns the refusals. @throws when a connection is lost or the job was cancelled.
 */
export async function restoreSideBySide(
  sessions: readonly [Session, ...Session[]],
  stretches: readonly Stretch[],
  signal: AbortSignal,
): Promise<RestoreProblem[]> {
  const problems: RestoreProblem[] = [];
  const [first] = sessions;
  for (const stretch of stretches) {
    if (stretch.how === 'in order') {
      problems.push(...(await restoreEntries(first, stretch.entries, signal, () => undefined)));
      continue;
    }
    const refused = new Set<ArchiveEntry>();
    const ended = await Promise.allSettled(
      stretch.lanes.map(async (lane, at) => {
        const session = sessions[at % sessions.length] ?? first;
        const todo = lane.filter((entry) => !isLeftOut(entry));
        for (let from = 0; from < todo.length; from += BATCH_ENTRIES) {
          const batch = todo.slice(from, from + BATCH_ENTRIES);
          if (!(await restoreBatch(session, batch, signal))) for (const entry of batch) refused.add(entry);
        }
      }),
    );
    for (const end of ended) if (end.status === 'rejected') throw end.reason;
    for (const entry of stretch.entries.filter((one) => refused.has(one)))
      problems.push(...(await restoreEntry(first, entry, signal)));
  }
  return problems;
}
