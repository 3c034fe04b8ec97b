import { setTimeout as sleep } from 'node:timers/promises';
import type { JobEventBody } from '../contract/event.ts';
import type { LiveState } from '../contract/live.ts';
import { throwIfAborted } from '../errors.ts';
import type { CloneOutcome } from '../clone/clone.ts';
import type { CloneContext } from '../clone/context.ts';
import type { Lsn } from '../postgres/lsn.ts';
import { asReport } from './as-report.ts';
import { whileDiskIsWatched } from './disk-watch.ts';
import type { TargetProgress } from './live-rooms-types.ts';
import type { LiveWatch } from './live-watch.ts';
import { type LiveWork, type OpenCopy, PhaseSpan, stateOf } from './live-work.ts';
import { untilDone } from './patience.ts';

/** Attempts in a row that bring no further table in. */
const mostAttempts = 8;
const longestPauseMs = 15_000;

/** Stores what is going to be made, then makes publication and slot. May be repeated while nothing is copied. */
export async function prepareSource(work: LiveWork): Promise<Lsn> {
  const { context, rooms, place } = work;
  const { slot, publication } = stateOf(context);
  const span = new PhaseSpan(work, 'slot', 'Making the publication and the replication slot on the source.');
  try {
    if (context.options.dropLeftovers) {
      const dropped = await rooms.dropLeftovers(place, await context.standingNames());
      for (const what of dropped) place.log('info', `Dropped ${what}, which an earlier job had left on the source.`);
    }
    const { staged } = openCopy(work, { archive: null, epoch: 0n });
    try {
      const tables = await untilDone({ ...place, what: "Reading the source's tables" }, () => staged.listTables());
      const { left } = await untilDone({ ...place, what: 'Making the publication' }, () =>
        rooms.publish(place, publication, tables),
      );
      for (const { table, why } of left) {
        const text = `Table ${table.schema}.${table.name} is copied but not followed: ${why}.`;
        place.log('warn', text);
        work.todo.push(text);
      }
    } finally {
      await staged.close();
    }
    const created = await untilDone({ ...place, what: 'Making the replication slot' }, () =>
      rooms.createSlot({
        settings: place.source,
        name: slot,
        signal: place.signal,
        onWait: (text) => waitsFor(work, text),
        log: place.log,
      }),
    );
    return created.consistentPoint;
  } finally {
    span.end();
  }
}

function waitsFor(work: LiveWork, text: string): void {
  const { context, place } = work;
  place.log('info', `The slot is ${text}`);
  const { tables, tablesDone, rows, bytes, fraction } = context.totals();
  context.emit({
    type: 'metric',
    tables,
    tablesDone,
    rows,
    bytes,
    fraction,
    bytesPerSecond: 0,
    rowsPerSecond: 0,
    remaining: null,
    waiting: { what: text, since: new Date().toISOString() },
  });
}

export interface CopyStart extends Pick<TargetProgress, 'archive' | 'epoch'> {
  readonly watch?: LiveWatch;
  /** What an attempt before has made on the target is removed. */
  readonly anew?: boolean;
}

/** The copying part of this job, as far as the target holds it. */
export function openCopy(work: LiveWork, start: CopyStart): OpenCopy {
  const { context, rooms, place, facts } = work;
  const { watch } = start;
  let figuresAt = 0;
  const emit = (event: JobEventBody): void => {
    // The figures of the slot come with those of the copy, but not as often.
    if (event.type !== 'metric' || watch === undefined || Date.now() - figuresAt < 1_000) return context.emit(event);
    figuresAt = Date.now();
    context.emit({ ...event, live: watch.read() });
  };
  const copyContext: CloneContext = {
    source: place.source,
    target: place.target,
    options: context.options,
    tools: facts.tools,
    sourceVersion: facts.source.version,
    targetVersion: facts.target.version,
    connections: work.connections,
    workDir: context.workDir,
    signal: place.signal,
    gate: context.gate,
    replaceTarget: context.options.replace || context.targetTouched || start.anew === true,
    beforeFirstWrite: () => context.touchTarget(),
    emit,
  };
  const lead = { epoch: () => start.epoch };
  const staged = rooms.createStagedClone(
    copyContext,
    rooms.copyContext(place, stateOf(context).publication, { archive: start.archive, epoch: () => lead.epoch() }),
  );
  return Object.assign(lead, { context: copyContext, staged });
}

export type CopyEnd =
  | { readonly ok: true; readonly copy: OpenCopy }
  /** `again`: a retry copies only what is missing. */
  | { readonly ok: false; readonly error: unknown; readonly again: boolean; readonly outcome: CloneOutcome };

/**
 * Brings every table to the target and builds what belongs to it. Connections that end are replaced; a run that goes on copies
 * only tables without a record. @throws the signal's reason.
 */
export async function copyTables(work: LiveWork, watch: LiveWatch): Promise<CopyEnd> {
  const { context, rooms, place } = work;
  let best = -1;
  for (let attempt = 1; ; attempt += 1) {
    throwIfAborted(place.signal);
    await context.touchTarget();
    const progress = await untilDone({ ...place, what: 'Reading the progress on the target' }, () =>
      rooms.takeOver(place, true),
    );
    const copy = openCopy(work, { ...progress, watch, anew: best >= 0 });
    const { staged } = copy;
    if (progress.tables.length > best) attempt = 1;
    best = Math.max(best, progress.tables.length);
    let whole = false;
    let stands = progress.archive !== null;
    try {
      await staged.schema();
      stands = true;
      const spare = work.facts.target.connectionsAvailable > work.connections.target;
      await whileDiskIsWatched({ ...context, spare, log: place.log }, () => staged.copy());
      await staged.buildRest();
      await rooms.startFollowing(place, progress.epoch, await rooms.slotPosition(place, stateOf(context).slot));
      whole = true;
      return { ok: true, copy };
    } catch (error) {
      throwIfAborted(place.signal);
      const outcome = staged.outcome();
      if (!passes(error, outcome) || attempt >= mostAttempts) {
        return { ok: false, error, again: stands && asReport(error).code !== 'SCHEMA_DRIFT', outcome };
      }
      place.log('warn', `Copying was interrupted: ${asReport(error).message} What is missing is copied again.`);
    } finally {
      if (!whole) await staged.close();
    }
    await sleep(Math.min(longestPauseMs, 500 * 2 ** attempt), undefined, { signal: place.signal }).catch(() =>
      throwIfAborted(place.signal),
    );
  }
}

/** What libpq says in a tool of PostgreSQL when its server or the line to it went away; such a tool has no code of its own for it. */
const LINE_LOST =
  /server closed the connection|terminating connection|connection to server|could not (connect|receive|send)|SSL SYSCALL|connection timed out|the database system is|lost synchronization/i;

/** True for what passes by itself: then also every table's own error does. Pure. */
export function passes(error: unknown, outcome: Pick<CloneOutcome, 'failedTables'>): boolean {
  const { retryable, code, message } = asReport(error);
  if (code !== 'TABLES_FAILED') return retryable || (code === 'PG_TOOL_FAILED' && LINE_LOST.test(message));
  return outcome.failedTables.length > 0 && outcome.failedTables.every((table) => table.error.retryable);
}

/** What a new live job is going to make. Pure. */
export function newState(names: { slot: string; publication: string }, chosen: boolean): LiveState {
  return { ...names, stage: 'preparing', chosen, readOnly: null, keepReadOnly: false };
}
