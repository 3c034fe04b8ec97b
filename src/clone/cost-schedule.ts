import type { TableCost } from './cost-model.ts';

export interface ScheduleInput {
  readonly tableJobs: number;
  readonly indexJobs: number;
  /** Streams that run at full speed beside each other. */
  readonly lanes: number;
  /** One more stream from the start, seconds: the large objects. */
  readonly beside: number;
  /** Tables that are not analysed by themselves. */
  readonly leaves: ReadonlySet<number>;
}

export interface Scheduled {
  /** When the last row is in, seconds from the start of the copy. */
  readonly copyEnd: number;
  /** When the last build has ended. */
  readonly end: number;
  /** Table of the build that ended last, as oid; null where nothing was built. */
  readonly lastTable: number | null;
  /** What a watch would show of each table, by oid: from the start of its copy to its end, and all of its builds. */
  readonly spent: ReadonlyMap<number, TableSpent>;
}

/** Seconds of wall time. */
export interface TableSpent {
  readonly copySeconds: number;
  readonly buildSeconds: number;
}

interface Stream {
  readonly kind: 'copy' | 'build' | 'beside';
  readonly oid: number;
  readonly exclusive: boolean;
  readonly seconds: number;
  readonly priority: number;
}

interface Running extends Stream {
  readonly endsAt: number;
  /** On the clock; `endsAt` is in seconds of work. */
  readonly startedAt: number;
}

/** Up to this size tables are played through many at once, bytes, where there are more than `FOLDED_FROM`. */
const FOLDED_BYTES = 1024 * 1024;
const FOLDED_FROM = 500;
const FOLDS = 100;

/** The same tables with the small ones of thousands put together: played through one by one they would take a second. Pure. */
export function folded(costs: readonly TableCost[], leaves: ReadonlySet<number>): readonly TableCost[] {
  const small = costs.filter(({ table }) => table.sizeBytes <= FOLDED_BYTES);
  if (small.length < FOLDED_FROM) return costs;
  const large = costs.filter(({ table }) => table.sizeBytes > FOLDED_BYTES);
  const size = Math.ceil(small.length / FOLDS);
  for (let from = 0; from < small.length; from += size) {
    const some = small.slice(from, from + size);
    const [first] = some;
    if (first === undefined) break;
    const sum = (of: (cost: TableCost) => number): number => some.reduce((total, cost) => total + of(cost), 0);
    const seconds = sum((cost) => cost.buildSeconds);
    large.push({
      ...first,
      // Nobody's, so that no table is told what all of them take.
      table: { ...first.table, oid: -1 - from },
      copySeconds: sum((cost) => cost.copySeconds),
      builds: seconds === 0 ? [] : [{ dumpId: 0, exclusive: true, seconds }],
      buildSeconds: seconds,
      analyzeSeconds: sum((cost) => (leaves.has(cost.table.oid) ? 0 : cost.analyzeSeconds)),
    });
  }
  return large;
}

/** What follows a table's copy: its builds, and its statistics after everything else. */
function after(cost: TableCost, analysed: boolean): Stream[] {
  const { oid } = cost.table;
  const list = cost.builds.map(({ seconds, exclusive }): Stream => {
    return { kind: 'build', oid, exclusive, seconds, priority: cost.buildSeconds };
  });
  if (!analysed || cost.analyzeSeconds === 0) return list;
  return [...list, { kind: 'build', oid, exclusive: true, seconds: cost.analyzeSeconds, priority: -1 }];
}

/**
 * Plays copies and builds through as the job will run them: so many at once, in their order, a table's builds once all of its pieces are in,
 * the longest first and none beside one that locks their table alone. Streams beyond `lanes` slow all of them down alike, so time
 * is counted in what one stream has done. Pure.
 */
export function schedule(costs: readonly TableCost[], input: ScheduleInput): Scheduled {
  const copies: Stream[] = costs.flatMap((cost) =>
    Array.from({ length: cost.pieces }, () => ({
      kind: 'copy' as const,
      oid: cost.table.oid,
      exclusive: false,
      seconds: cost.copySeconds / cost.pieces,
      priority: 0,
    })),
  );
  const byOid = new Map(costs.map((cost) => [cost.table.oid, cost]));
  const pieces = new Map(costs.map((cost) => [cost.table.oid, cost.pieces]));
  const waiting: Stream[] = [];
  const held = new Map<number, { count: number; exclusive: boolean }>();
  const running: Running[] = [];
  const spent = new Map<number, { from: number; copySeconds: number; buildSeconds: number }>();
  const result = { copyEnd: 0, end: 0, lastTable: null as number | null, spent };
  let next = 0;
  let now = 0;
  let done = 0;
  const busy = { copy: 0, build: 0, beside: 0 };

  const start = (stream: Stream): void => {
    busy[stream.kind] += 1;
    running.push({ ...stream, endsAt: done + stream.seconds, startedAt: now });
    if (stream.kind === 'copy' && !spent.has(stream.oid))
      spent.set(stream.oid, { from: now, copySeconds: 0, buildSeconds: 0 });
  };
  const fill = (): void => {
    for (let copy = copies[next]; copy !== undefined && busy.copy < input.tableJobs; copy = copies[next]) {
      start(copy);
      next += 1;
    }
    for (let at = 0; at < waiting.length && busy.build < input.indexJobs;) {
      const build = waiting[at];
      const hold = build === undefined ? undefined : held.get(build.oid);
      if (build === undefined || (hold !== undefined && (hold.exclusive || build.exclusive))) {
        at += 1;
        continue;
      }
      waiting.splice(at, 1);
      held.set(build.oid, { count: (hold?.count ?? 0) + 1, exclusive: build.exclusive });
      start(build);
    }
  };
  const add = (stream: Stream): void => {
    let [low, high] = [0, waiting.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((waiting[middle]?.priority ?? 0) >= stream.priority) low = middle + 1;
      else high = middle;
    }
    waiting.splice(low, 0, stream);
  };
  const ended = (stream: Running): void => {
    busy[stream.kind] -= 1;
    if (stream.kind !== 'build') result.copyEnd = now;
    result.end = now;
    const own = spent.get(stream.oid);
    if (own !== undefined && stream.kind === 'copy') own.copySeconds = now - own.from;
    if (own !== undefined && stream.kind === 'build' && stream.priority >= 0)
      own.buildSeconds += now - stream.startedAt;
    if (stream.kind === 'copy') {
      const left = (pieces.get(stream.oid) ?? 1) - 1;
      pieces.set(stream.oid, left);
      const cost = byOid.get(stream.oid);
      if (left === 0 && cost !== undefined) for (const build of after(cost, !input.leaves.has(stream.oid))) add(build);
    }
    if (stream.kind === 'build') {
      if (stream.priority >= 0) result.lastTable = stream.oid;
      const hold = held.get(stream.oid);
      if (hold !== undefined && hold.count > 1) hold.count -= 1;
      else held.delete(stream.oid);
    }
  };

  if (input.beside > 0) start({ kind: 'beside', oid: 0, exclusive: false, seconds: input.beside, priority: 0 });
  for (fill(); running.length > 0; fill()) {
    const at = running.reduce((best, one, index) => (one.endsAt < (running[best]?.endsAt ?? 0) ? index : best), 0);
    const [first] = running.splice(at, 1);
    if (first === undefined) break;
    now += (first.endsAt - done) * Math.max(1, (running.length + 1) / input.lanes);
    done = first.endsAt;
    ended(first);
  }
  return result;
}
