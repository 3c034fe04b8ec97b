import type { CutoverReport, LiveState } from '../contract/live.ts';
import type { Difference, Verification } from '../contract/report.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import type { CloneOutcome } from '../clone/clone.ts';
import type { ForeignKeyName, StagedClone } from '../clone/staged-types.ts';
import { cleanLive } from './clean-live.ts';
import { asError } from './live-fate.ts';
import { isHandedOver } from './live-hand.ts';
import type { TargetProgress } from './live-rooms-types.ts';
import { type LiveWork, PhaseSpan, stateOf } from './live-work.ts';
import { untilAnswered, untilDone } from './patience.ts';
import { acceptedDifferences, besideCopy, type RunEnd } from './run-job.ts';
import { openCopy } from './run-live-copy.ts';
import { type HandedOver, recordReadOnly, tellHandOver } from './run-live-cutover.ts';

const cleanMs = 60_000;

/** Everything after the hand-over: comparison, foreign keys, the fence, what is left on the servers. @throws the signal's reason. */
export async function finishLive(work: LiveWork, staged: StagedClone, hand: HandedOver): Promise<RunEnd> {
  return await afterTakeOver(work, () => finish(work, staged, hand));
}

/** Whatever fails once the target has taken over: nobody is led back to the source without having decided it. */
async function afterTakeOver(work: LiveWork, task: () => Promise<RunEnd>): Promise<RunEnd> {
  const { context, place } = work;
  try {
    return await task();
  } catch (error) {
    if (place.signal.aborted) throw error;
    await context.live.save({ ...stateOf(context), keepReadOnly: true });
    work.todo.push(...sourceTodo(work, stateOf(context)));
    throw error;
  }
}

/**
 * The hooks are told that the target has taken over while the comparison, which sees the moment of the cutover, goes on beside them:
 * neither has to wait for the other.
 */
async function besideHooks(work: LiveWork, task: () => Promise<RunEnd>): Promise<RunEnd> {
  const { place } = work;
  const told = work.context.hook('after-cutover').then(
    () => null,
    (error: unknown) => ({ error }),
  );
  try {
    return await task();
  } finally {
    const failure = await told;
    if (failure !== null) place.log('debug', `Telling the hooks was ended: ${asError(failure.error).message}`);
  }
}

async function finish(work: LiveWork, staged: StagedClone, hand: HandedOver): Promise<RunEnd> {
  await work.context.move('verifying', 'The target has taken over; comparing it with the source as of the cutover.');
  return await besideHooks(work, () => finishWithMoment(work, staged, hand));
}

async function finishWithMoment(work: LiveWork, staged: StagedClone, hand: HandedOver): Promise<RunEnd> {
  const outcome = staged.outcome();
  let verification: Verification | null = null;
  try {
    const keys = hand.finished?.unvalidated ?? (await staged.listUnvalidated());
    verification = await compare(work, hand, outcome, keys);
    await hand.fence.lift();
    verification = withBroken(verification, await validate(work, staged, keys));
  } finally {
    await hand.fence.lift();
    await Promise.all([hand.snapshots?.source.close(), hand.snapshots?.target.close()]);
  }
  return await conclude(work, { outcome, verification, cutover: hand.report });
}

async function compare(
  work: LiveWork,
  hand: HandedOver,
  outcome: CloneOutcome,
  pendingConstraints: readonly ForeignKeyName[],
): Promise<Verification | null> {
  const { context, place, facts, connections } = work;
  const { verify } = context.options;
  if (verify === 'none') return null;
  if (hand.snapshots === null) {
    notCompared(work, 'The moment of the cutover could not be kept.');
    return null;
  }
  const span = new PhaseSpan(work, 'verify', 'Comparing the target with the source, both as of the cutover.');
  try {
    const { tables, rows, bytes } = context.totals();
    return await context.rooms.verifyDatabases({
      source: place.source,
      target: place.target,
      snapshot: hand.snapshots.source,
      targetSnapshot: hand.snapshots.target,
      connections,
      options: context.options,
      mode: verify,
      tools: facts.tools,
      // Dumped again: what was moved is what is compared, not what the job remembers of it.
      sourceArchive: null,
      workDir: context.workDir,
      signal: place.signal,
      copiedSequences: hand.sequences,
      targetSequences: hand.sequences,
      pendingConstraints,
      accepted: acceptedDifferences(outcome),
      emit: (event) => context.emit(besideCopy(event, { tables, rows, bytes })),
    });
  } catch (error) {
    throwIfAborted(place.signal);
    const { message, hint } = asError(error);
    place.say('error', `The comparison did not come to its end: ${message} ${hint}`.trim());
    notCompared(work, `The comparison did not come to its end: ${message}`);
    return null;
  } finally {
    span.end();
  }
}

function notCompared(work: LiveWork, why: string): void {
  work.todo.push(
    `${why} The target has taken over unverified. While nobody writes to it, compare both sides with: pgsluice verify`,
  );
}

/** Checks the foreign keys' rows; answers those that do not hold, as differences. */
async function validate(
  work: LiveWork,
  staged: StagedClone,
  keys: readonly ForeignKeyName[],
): Promise<readonly Difference[]> {
  const { place } = work;
  if (keys.length === 0) return [];
  const what = 'Validating the foreign keys on the target';
  try {
    await untilDone({ ...place, what }, () => staged.validateConstraints(keys));
    return [];
  } catch (error) {
    throwIfAborted(place.signal);
    const { message, hint } = asError(error);
    place.say('error', `${message} ${hint}`.trim());
    work.todo.push(`${message} ${hint}`.trim());
    const left = await staged.listUnvalidated().catch(() => keys);
    return left.map(({ schema, table, name }) => ({
      kind: 'FK CONSTRAINT',
      name: `${schema}.${table} ${name}`,
      change: 'different' as const,
      source: 'valid',
      target: 'NOT VALID',
    }));
  }
}

function withBroken(verification: Verification | null, broken: readonly Difference[]): Verification | null {
  if (verification === null || broken.length === 0) return verification;
  return { ...verification, verified: false, differences: [...verification.differences, ...broken] };
}

interface Conclusion {
  /** null: what the copy had come to is gone with the agent that made it. */
  readonly outcome: CloneOutcome | null;
  readonly verification: Verification | null;
  readonly cutover: CutoverReport | null;
}

async function conclude(work: LiveWork, end: Conclusion): Promise<RunEnd> {
  const { context, place, facts, phases } = work;
  throwIfAborted(place.signal);
  // Whoever goes on after a crash must not look for what is taken away now.
  const state = { ...stateOf(context), concluding: true };
  await context.live.save(state);
  await cleanLive({
    rooms: context.rooms,
    job: place.job,
    endpoints: { source: place.source, target: place.target },
    state,
    ms: cleanMs,
    signal: place.signal,
    log: place.say,
    save: (cleaned) => context.live.save(cleaned),
  });
  throwIfAborted(place.signal);
  return {
    status: 'completed',
    error: null,
    facts,
    copy: end.outcome,
    verification: end.verification,
    phases,
    held: null,
    todo: [...work.todo, ...sourceTodo(work, state)],
    ...(end.cutover === null ? {} : { cutover: end.cutover }),
  };
}

/** How the source becomes writable again. */
function sourceTodo({ rooms }: Pick<LiveWork, 'rooms'>, { readOnly }: LiveState): string[] {
  if (readOnly === null) {
    return ['Nothing keeps new sessions from writing to the source: what is written there does not reach the target.'];
  }
  return [
    `New sessions on the source are read-only, because the target has taken over. To make it writable again: ${rooms.undoReadOnlySql(readOnly)};`,
  ];
}

/**
 * The target had taken over when the run before was interrupted. As long as the world was not told, the source is fenced again,
 * and that it has committed nothing since is read from its stream. @throws PgsluiceError CUTOVER_SPLIT; the signal's reason.
 */
export async function goOnAfterCommit(work: LiveWork, progress: TargetProgress): Promise<RunEnd> {
  return await afterTakeOver(work, () => goOn(work, progress));
}

/** True when a run before this one was at its very end, and may have taken everything off the servers. Pure. */
export function isConcluding(state: LiveState): boolean {
  return isHandedOver(state) && (state.concluding === true || state.stage === 'cleaned');
}

/** Brings a run to its end that was interrupted there. @throws the signal's reason. */
export async function concludeAgain(work: LiveWork): Promise<RunEnd> {
  const { context, place } = work;
  place.log(
    'info',
    'The target had taken over when the run before ended; what the job made on the servers is taken off.',
  );
  await context.move('verifying', 'The target has taken over; bringing the migration to its end.');
  if (context.options.verify !== 'none')
    notCompared(work, 'The agent ended after the hand-over, before what the comparison had found was stored.');
  return await conclude(work, { outcome: null, verification: null, cutover: null });
}

async function goOn(work: LiveWork, progress: TargetProgress): Promise<RunEnd> {
  const { context, place } = work;
  const state = stateOf(context);
  const recorded = state.stage === 'handed-over';
  place.log('info', 'The target had taken over when the run before ended.');
  context.live.commit('begins');
  const { staged } = openCopy(work, progress);
  try {
    await untilAnswered(context, { ...place, what: 'Reading the archive' }, () => staged.schema());
    if (recorded && state.told === true) {
      return await finishWithoutMoment(work, staged, null);
    }
    const fence = await fenceAgain(work, progress);
    try {
      // The moment that can still be compared: nobody was told of the target before.
      const snapshots = recorded
        ? null
        : await untilAnswered(context, { ...place, what: 'Opening a snapshot of both sides' }, () =>
            openSnapshots(work),
          );
      await context.live.save({ ...stateOf(context), stage: 'handed-over', keepReadOnly: true, told: false });
      await tellHandOver(work).catch((error: unknown) => {
        throwIfAborted(place.signal);
        const { message, hint } = asError(error);
        place.say('error', `${message} ${hint}`.trim());
        work.todo.push(`${message} ${hint}`.trim());
      });
      if (snapshots === null) return await finishWithoutMoment(work, staged, fence);
      const report: CutoverReport = { steps: [], downtimeMs: null, fencedBy: fence.means, lsn: null, attempts: 1 };
      const sequences = await untilAnswered(context, { ...place, what: 'Reading the sequences' }, () =>
        work.rooms.readSequences(place, staged),
      );
      return await finish(work, staged, { fence, report, finished: null, sequences, snapshots });
    } finally {
      await fence.lift();
    }
  } finally {
    await staged.close();
  }
}

async function openSnapshots(work: LiveWork): Promise<HandedOver['snapshots']> {
  const { rooms, place, connections } = work;
  const { signal, log } = place;
  const fenced = Math.max(1, connections.source - 2);
  const source = await rooms.openSnapshot(place.source, { side: 'source', connections: fenced, signal, log });
  try {
    const target = await rooms.openSnapshot(place.target, {
      side: 'target',
      connections: connections.target,
      signal,
      log,
    });
    return { source, target };
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function fenceAgain(work: LiveWork, progress: TargetProgress): Promise<HandedOver['fence']> {
  const { context, rooms, place, facts } = work;
  const what = 'Stopping writes on the source again';
  const { fence, late } = await untilAnswered(context, { ...place, what }, () =>
    rooms.fenceAgain({
      ...place,
      state: stateOf(context),
      progress,
      workDir: context.workDir,
      sourceMajor: facts.source.version.major,
      timeoutMs: context.options.cutoverTimeout * 1000,
      recordReadOnly: (readOnly) => recordReadOnly(work, readOnly),
    }),
  );
  if (late.length === 0) {
    for (const limit of await fence.refuseWrites()) work.todo.push(limit);
    return fence;
  }
  await fence.lift();
  const where = late.map(({ schema, name, changes }) => `${schema}.${name} (${changes})`).join(', ');
  throw new PgsluiceError({
    code: 'CUTOVER_SPLIT',
    message: `The agent ended right after the target had taken over, and since then the source was written again: ${where}.`,
    hint: `Nobody was told of the target. Decide which side is right: carry these changes over by hand and use the target, or go on with the source and start a new job into an empty database. ${sourceTodo(work, stateOf(context)).join(' ')}`,
  });
}

/** The moment of the cutover is gone with the agent that held it: nothing is claimed of it. */
async function finishWithoutMoment(
  work: LiveWork,
  staged: StagedClone,
  fence: HandedOver['fence'] | null,
): Promise<RunEnd> {
  await work.context.move('verifying', 'The target has taken over; bringing the migration to its end.');
  return await besideHooks(work, () => finishUncompared(work, staged, fence));
}

async function finishUncompared(
  work: LiveWork,
  staged: StagedClone,
  fence: HandedOver['fence'] | null,
): Promise<RunEnd> {
  const { context } = work;
  await fence?.lift();
  const unvalidated = await untilAnswered(context, { ...work.place, what: 'Reading the foreign keys' }, () =>
    staged.listUnvalidated(),
  );
  const broken = await validate(work, staged, unvalidated);
  for (const { name } of broken) work.todo.push(`Foreign key ${name} stands NOT VALID on the target.`);
  if (context.options.verify !== 'none') {
    notCompared(work, 'The agent ended after the hand-over, and with it the moment that was to be compared.');
  }
  return await conclude(work, { outcome: staged.outcome(), verification: null, cutover: null });
}
