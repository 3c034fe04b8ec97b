import { PgsluiceError, throwIfAborted } from '../errors.ts';
import type { PhaseTiming } from '../contract/report.ts';
import { targetWentBack } from '../live/progress.ts';
import { formatLsn, type Lsn, parseLsn } from '../postgres/lsn.ts';
import { asReport } from './as-report.ts';
import { gently } from './gentle.ts';
import { LiveMetrics } from './live-metrics.ts';
import type { LivePlace, TargetProgress } from './live-rooms-types.ts';
import { LiveWatch } from './live-watch.ts';
import { linked, type LiveWork, type OpenCopy, stateOf } from './live-work.ts';
import { untilAnswered } from './patience.ts';
import { planConnections } from './plan-connections.ts';
import type { Facts } from './rooms.ts';
import type { RunContext, RunEnd } from './run-job.ts';
import { copyTables, newState, openCopy, prepareSource } from './run-live-copy.ts';
import { liftReadOnly } from './run-live-cutover.ts';
import { concludeAgain, finishLive, goOnAfterCommit, isConcluding } from './run-live-finish.ts';
import { followToTheEnd } from './run-live-follow.ts';
import { finishDatabase, makeDatabase, readWantedDatabase, withoutLimit } from './target-database.ts';

export interface LiveStart {
  /** As validation found them; null for a run that goes on. */
  readonly facts: Facts | null;
  /** The method was chosen by `auto`. */
  readonly chosen: boolean;
  readonly phases: PhaseTiming[];
}

/**
 * One run of a live job: from where the job stands (its stored state and the target's progress) to the hand-over and the
 * comparison. @throws the job's signal's reason.
 */
export async function runLive(context: RunContext, start: LiveStart): Promise<RunEnd> {
  const link = linked(context.signal);
  const { controller } = link;
  const say: LivePlace['say'] = (level, message) => context.emit({ type: 'log', level, message });
  const place: LivePlace = {
    job: context.id,
    source: context.source,
    target: context.target,
    signal: controller.signal,
    log: say,
    say,
  };
  let { facts } = start;
  const todo: string[] = [];
  try {
    const fresh = !context.live.stands && !context.live.handedOver;
    if (fresh) {
      const names = context.rooms.live.names(context.id);
      await context.live.save(newState(names, start.chosen), { goesOn: true });
    }
    await context.move(
      'running',
      fresh ? 'Making the replication slot, then copying.' : 'Going on where the job stands.',
    );
    if (stateOf(context).stage === 'preparing') await makeDatabase(context, await readWantedDatabase(context));
    facts ??= await untilAnswered(context, { ...place, what: 'Reaching both servers' }, () =>
      context.rooms.live.readFacts({ ...place, pgBinDir: context.pgBinDir }),
    );
    const connections = planConnections(
      { source: facts.source.connectionsAvailable, target: facts.target.connectionsAvailable },
      context.options,
      'live',
    );
    const work: LiveWork = {
      context,
      rooms: context.rooms.live,
      place,
      facts,
      connections,
      phases: start.phases,
      metrics: new LiveMetrics(
        (event) => context.emit(event),
        () => context.totals(),
      ),
      todo,
    };
    const available = facts.source.connectionsAvailable;
    const look = { ...context, source: { ...place.source, job: context.id }, available, taken: connections.source };
    return await gently(look, () => fromWhereItStands(work, controller));
  } catch (error) {
    throwIfAborted(context.signal);
    const failure: unknown = controller.signal.aborted ? controller.signal.reason : error;
    // A fault of the program: whoever holds the run logs where it was met.
    if (!(failure instanceof PgsluiceError)) throw failure;
    return { ...failedEnd(failure), facts, phases: start.phases, todo };
  } finally {
    // Whatever still runs on a session of this run ends with it.
    controller.abort(new Error('the run has come to its end'));
    link.release();
  }
}

type Failed = Omit<RunEnd, 'facts' | 'phases' | 'todo'>;

function failedEnd(failure: unknown): Failed {
  return { status: 'failed', error: asReport(failure), copy: null, verification: null, held: null };
}

async function fromWhereItStands(work: LiveWork, controller: AbortController): Promise<RunEnd> {
  const { context } = work;
  if (isConcluding(stateOf(context))) return await concludeAgain(work);
  // Past the hand-over the slot is of no use to anybody; before it the slot is watched, whatever else is waited for.
  if (context.live.handedOver) {
    const standing = await leading(work);
    if (standing.finished) return await goOnAfterCommit(work, standing);
  }
  const watch = new LiveWatch(work, (error) => {
    if (!context.live.handedOver) controller.abort(error);
  });
  try {
    return await underWatch(work, watch);
  } finally {
    await watch.stop();
  }
}

async function underWatch(work: LiveWork, watch: LiveWatch): Promise<RunEnd> {
  const { context, place } = work;
  let begin: Lsn = 0n;
  if (stateOf(context).stage === 'preparing') {
    begin = await prepareSource(work);
    watch.made(begin);
    await context.live.save({ ...stateOf(context), stage: 'copying' });
    place.log('info', `Slot ${stateOf(context).slot} keeps every change since ${formatLsn(begin)}.`);
  }
  // A source that an attempt has made read-only may have been left for its target: until that is known, nothing is given up.
  watch.cuttingOver = stateOf(context).readOnly !== null;
  const standing = stateOf(context).stage === 'copying' ? null : await leading(work);
  if (standing?.finished === true) {
    await watch.stop();
    return await goOnAfterCommit(work, standing);
  }
  watch.cuttingOver = false;
  await liftReadOnly(work);
  if (standing !== null) {
    const copy = openCopy(work, standing);
    const applied = standing.applied ?? 0n;
    const stored = context.goesOn ? await context.lastStored() : null;
    if (stored !== null && applied < parseLsn(stored)) throw targetWentBack(parseLsn(stored), applied);
    return await followAndFinish(work, watch, { copy, applied, takeUp: () => copy.staged.schema() });
  }
  if (!context.goesOn) await context.clearTables();
  const copied = await copyTables(work, watch);
  if (!copied.ok) {
    const { error, again, outcome } = copied;
    const held = again ? ({ kind: 'live' } as const) : null;
    return { ...failedEnd(error), copy: outcome, facts: work.facts, phases: work.phases, todo: work.todo, held };
  }
  await context.live.save({ ...stateOf(context), stage: 'following' });
  return await followAndFinish(work, watch, { copy: copied.copy, applied: begin });
}

/** `takeUp`: reads what an earlier run has stored of the copy. */
async function followAndFinish(
  work: LiveWork,
  watch: LiveWatch,
  { copy, applied, takeUp }: { copy: OpenCopy; applied: Lsn; takeUp?: () => Promise<void> },
): Promise<RunEnd> {
  const { context, place } = work;
  const { staged } = copy;
  try {
    if (takeUp !== undefined) await untilAnswered(context, { ...place, what: 'Reading the archive' }, takeUp);
    const database = await untilAnswered(context, { ...place, what: "Reading the source's database" }, () =>
      readWantedDatabase(context),
    );
    work.todo.push(...(await finishDatabase(context, withoutLimit(database))));
    await context.move('following', 'Every table is copied; following the source.');
    context.leavePlace();
    const end = await followToTheEnd(work, { copy, watch, applied });
    // The clean-up at the end finds the job's sessions by their names: those of the watch are closed before.
    await watch.stop();
    if (end.kind === 'handed-over') return await finishLive(work, staged, end.hand);
  } finally {
    await staged.close();
  }
  return await goOnAfterCommit(work, await leading(work));
}

async function leading(work: LiveWork): Promise<TargetProgress> {
  const { context, rooms, place } = work;
  return await untilAnswered(context, { ...place, what: 'Reading the progress on the target' }, () =>
    rooms.takeOver(place, false),
  );
}
