import type { CutoverReport, LiveState } from '../contract/live.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import type { Finished, StagedClone } from '../clone/staged-types.ts';
import type { Fence } from '../live/fence-types.ts';
import type { SourceSnapshot } from '../postgres/snapshot.ts';
import type { SequenceValue } from '../clone/sequences.ts';
import type { FollowLine } from './follow-line.ts';
import type { LiveDrift } from './live-drift-types.ts';
import { asError } from './live-fate.ts';
import type { LiveWatch } from './live-watch.ts';
import { type LiveWork, PhaseSpan, stateOf } from './live-work.ts';
import { untilAnswered, untilDone } from './patience.ts';

/** What the end of a migration is given once the target has taken over. */
export interface HandedOver {
  readonly fence: Fence;
  readonly report: CutoverReport;
  readonly finished: Finished | null;
  /** As the target's were set. */
  readonly sequences: readonly SequenceValue[];
  /** Of both sides at the cutover; null where they could not be kept. */
  readonly snapshots: { readonly source: SourceSnapshot; readonly target: SourceSnapshot } | null;
}

export type CutoverEnd =
  | { readonly kind: 'handed-over'; readonly hand: HandedOver }
  | { readonly kind: 'rolled-back'; readonly error: PgsluiceError }
  /** The connection ended while the target committed, and it did. */
  | { readonly kind: 'committed' };

export interface CutoverParts {
  readonly staged: StagedClone;
  readonly line: FollowLine;
  readonly watch: LiveWatch;
  readonly drift: LiveDrift;
}

/** Stores what the source's read-only default was; the first one stored is the truth about before. */
export async function recordReadOnly(work: LiveWork, readOnly: LiveState['readOnly']): Promise<void> {
  const { live } = work.context;
  const state = stateOf(work.context);
  if (readOnly !== null && state.readOnly !== null) return;
  await live.save({ ...state, readOnly });
}

/** Tells the world, once, as far as the agent lives; a failure is not repeated by whoever goes on, but left to a person. */
export async function tellHandOver(work: LiveWork): Promise<{ readonly detail: string }> {
  const { context, rooms, place } = work;
  const { handOver } = context.options;
  try {
    if (handOver === null) return { detail: 'Nobody is told: no hook was given.' };
    return await rooms.handOver(place, handOver);
  } finally {
    if (!place.signal.aborted) await context.live.save({ ...stateOf(context), told: true });
  }
}

/** One attempt to cut over; the job is `cutting_over`. @throws the signal's reason. */
export async function cutOver(work: LiveWork, parts: CutoverParts): Promise<CutoverEnd> {
  const span = new PhaseSpan(
    work,
    'cutover',
    'From the fence on, writes on the source wait until the target has taken over.',
  );
  try {
    // Nothing was touched yet: a refusal leads back to following as it was.
    const refusal = await work.context.hook('before-cutover');
    if (refusal !== null) return { kind: 'rolled-back', error: refusal };
    return await attempt(work, parts);
  } catch (error) {
    throwIfAborted(work.place.signal);
    return await afterFailure(work, asError(error));
  } finally {
    span.end();
  }
}

async function attempt(work: LiveWork, { staged, line, watch, drift }: CutoverParts): Promise<CutoverEnd> {
  const { context, rooms, place, connections } = work;
  const { live } = context;
  const { follower } = line;
  watch.cuttingOver = true;
  const held: Held = { finished: null, sequences: [], source: null, target: null };
  let done = false;
  const open = async (side: 'source' | 'target'): Promise<SourceSnapshot> =>
    await rooms.openSnapshot(place[side], {
      side,
      // The fence has two sessions of its own on the source.
      connections: Math.max(1, side === 'source' ? connections.source - 2 : connections.target),
      signal: place.signal,
      log: place.log,
    });
  try {
    const outcome = await rooms.runCutover({
      job: place.job,
      source: place.source,
      target: place.target,
      prepare: async (signal) => {
        await drift.beforeFence(signal);
        await staged.refreshViews(signal);
        const tables = await publishedTables(work, staged, signal);
        return { detail: `${tables.length} tables are followed; the source is written to as usual.`, tables };
      },
      options: context.options,
      signal: place.signal,
      readGuardrails: () => watch.guardrails(),
      drainTo: (lsn, signal) => follower.drainTo(lsn, signal),
      pauseApply: () => follower.hold(),
      readSequences: (session) => staged.readSequences(session),
      writeSequences: async (session, values) => {
        await staged.writeSequences(session, values);
        held.sequences = latest(held.sequences, values);
      },
      finish: async (session, values) => {
        await drift.underFence();
        held.sequences = values;
        const finished = await staged.finish(session, values);
        held.finished = finished;
        return { detail: finishedWords(finished) };
      },
      // Of this moment: a connection anew has taken the lead anew.
      get finishProgressSql() {
        return rooms.finishSql(place.job, follower.epoch);
      },
      openSourceSnapshot: async () => {
        held.source = await open('source');
        return { detail: 'Holds the source as of the fence.' };
      },
      openTargetSnapshot: async () => {
        held.target = await open('target');
        return { detail: 'Holds the target as of its commit.' };
      },
      recordReadOnly: (readOnly) => recordReadOnly(work, readOnly),
      onCommit: (what) => live.commit(what),
      recordHandedOver: async () => {
        done = true;
        await live.save({ ...stateOf(context), stage: 'handed-over', keepReadOnly: true, told: false });
      },
      handOver: () => tellHandOver(work),
      dropSlot: async () => {
        await Promise.all([line.close(), watch.stop()]);
        await rooms.dropSlotAndPublication(place, stateOf(context));
      },
      onStep: (steps) => {
        watch.steps = steps;
      },
      log: place.say,
    });
    if (outcome.kind === 'rolled-back') {
      await liftReadOnly(work);
      return { kind: 'rolled-back', error: new PgsluiceError(outcome.error) };
    }
    done = true;
    work.todo.push(...outcome.todo);
    const { source, target, finished, sequences } = held;
    const snapshots = source === null || target === null ? null : { source, target };
    const { fence, report } = outcome;
    return { kind: 'handed-over', hand: { fence, report, finished, sequences, snapshots } };
  } finally {
    if (!done) {
      await closeAll([held.source, held.target]);
      watch.cuttingOver = false;
    }
  }
}

/** What an attempt gathers for the time after it. */
interface Held {
  finished: Finished | null;
  sequences: readonly SequenceValue[];
  source: SourceSnapshot | null;
  target: SourceSnapshot | null;
}

async function closeAll(snapshots: readonly (SourceSnapshot | null)[]): Promise<void> {
  await Promise.all(snapshots.map(async (snapshot) => await snapshot?.close()));
}

/** Names of what is published: that is what has to be fenced. */
async function publishedTables(
  work: LiveWork,
  staged: StagedClone,
  signal: AbortSignal,
): Promise<readonly { readonly schema: string; readonly name: string }[]> {
  return await work.rooms
    .publishedTables({ ...work.place, signal }, stateOf(work.context).publication)
    .catch(async (error: unknown) => {
      throwIfAborted(signal);
      work.place.log('debug', `The publication could not be read: ${asError(error).message}`);
      return await staged.listTables();
    });
}

/** Something failed that is no answer of the cutover: whether the commit happened, only the target knows. */
async function afterFailure(work: LiveWork, error: PgsluiceError): Promise<CutoverEnd> {
  const { context, rooms, place } = work;
  const what = 'Asking the target whether it has taken over';
  const committed = await untilDone({ ...place, what }, () => rooms.hasFinished(place.target, place.job, place.signal));
  if (committed) return { kind: 'committed' };
  context.live.commit('failed');
  await liftReadOnly(work);
  return { kind: 'rolled-back', error };
}

/** Makes the source writable again where an attempt that did not come to its commit has left it read-only. */
export async function liftReadOnly(work: LiveWork): Promise<void> {
  const { context, rooms, place } = work;
  const { readOnly } = stateOf(context);
  if (readOnly === null) return;
  const what = 'Making the source writable again';
  await untilAnswered(context, { ...place, what }, () => rooms.undoReadOnly(place, readOnly));
  await context.live.save({ ...stateOf(context), readOnly: null });
  place.log('info', 'The source takes writes again: the cutover did not come to its end.');
}

function latest(before: readonly SequenceValue[], values: readonly SequenceValue[]): readonly SequenceValue[] {
  const key = ({ schema, name }: SequenceValue): string => JSON.stringify([schema, name]);
  const merged = new Map([...before, ...values].map((value) => [key(value), value]));
  return [...merged.values()];
}

function finishedWords({ counts }: Finished): string {
  const kinds = [
    [counts.foreignKeys, 'foreign keys'],
    [counts.triggers, 'triggers'],
    [counts.rules, 'rules'],
    [counts.policies, 'policies'],
    [counts.privileges, 'privileges'],
    [counts.sequences, 'sequences'],
  ] as const;
  return kinds.flatMap(([count, noun]) => (count === 0 ? [] : [`${count} ${noun}`])).join(', ');
}
