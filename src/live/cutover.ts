import { setTimeout as sleep } from 'node:timers/promises';
import type { CutoverReport, Guardrail } from '../contract/live.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { type Lsn, formatLsn } from '../postgres/lsn.ts';
import { type Session, openSession } from '../postgres/session.ts';
import type { ConnectionSettings, Side } from '../postgres/settings.ts';
import { readServerVersion } from '../postgres/version.ts';
import { type Backend, backendOf, commitForSure } from './cutover-commit.ts';
import { type CountedTable, chooseCounted, compareCounts } from './cutover-counts.ts';
import { Timeline } from './cutover-timeline.ts';
import type { CutoverInput, CutoverOutcome, CutoverTable, SequenceLike } from './cutover-types.ts';
import { asCutoverError, asError, bounded, endTransaction, makeWritable, refused } from './cutover-undo.ts';
import { chooseFence } from './fence-plan.ts';
import type { Fence, FencePlan, ReadOnlyState } from './fence-types.ts';
import { raiseFence } from './fence.ts';

export type { CutoverInput, CutoverOutcome, CutoverTable, SequenceLike } from './cutover-types.ts';

const GUARDRAILS_EVERY_MS = 500;
/** Fence and guardrails give up this long before the deadline, so that their reason is told instead of the bare deadline. */
const SLACK_MS = 100;
const OPENING_MS = 5000;
const UNDO_FIRST_MS = 1000;

interface Prepared {
  readonly source: Session;
  readonly target: Session;
  readonly backend: Backend;
  readonly plan: FencePlan;
  readonly tables: readonly CutoverTable[];
  readonly counted: readonly CountedTable[];
}

const key = (sequence: SequenceLike): string => JSON.stringify([sequence.schema, sequence.name]);

/** The sequences of `after` whose value is not that of `before`. Pure. */
export function movedSequences(before: readonly SequenceLike[], after: readonly SequenceLike[]): SequenceLike[] {
  const old = new Map(before.map((sequence) => [key(sequence), sequence]));
  return after.filter((sequence) => {
    const was = old.get(key(sequence));
    return was?.lastValue !== sequence.lastValue || was.isCalled !== sequence.isCalled;
  });
}

/** One attempt: prepared → fenced → committed, or rolled back from anywhere before the commit. */
class Cutover {
  readonly #input: CutoverInput;
  readonly #now: () => number;
  readonly #timeline: Timeline;
  /** Ends every session of the attempt, and with them locks and open transactions; not while the target commits. */
  readonly #lifetime = new AbortController();
  #deadline: NodeJS.Timeout | null = null;
  #fencing = false;
  #committing = false;
  #fence: Fence | null = null;
  #lsn: Lsn | null = null;
  #readOnly: ReadOnlyState | null = null;
  #altering: Backend | null = null;
  #release: (() => void) | null = null;
  #backend: Backend | null = null;
  readonly #sessions: Session[] = [];
  #opening: Promise<unknown> = Promise.resolve();
  readonly #todo: string[] = [];

  constructor(input: CutoverInput) {
    this.#input = input;
    this.#now = input.now ?? Date.now;
    this.#timeline = new Timeline((steps) => input.onStep(steps), this.#now);
  }

  async run(): Promise<CutoverOutcome> {
    const { signal } = this.#input;
    const onAbort = (): void => {
      if (!this.#committing) this.#lifetime.abort(signal.reason);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      if (signal.aborted) onAbort();
      throwIfAborted(this.#lifetime.signal);
      const prepared = await this.#prepare();
      const fence = await this.#raise(prepared.plan);
      await this.#beforeCommit(prepared, fence);
      await this.#commit(prepared, fence);
      return await this.#after(fence);
    } catch (error) {
      if (error instanceof PgsluiceError && error.code === 'CUTOVER_UNDECIDED') {
        this.#lifetime.abort(error);
        await this.#fence?.lift();
        throw error;
      }
      return await this.#rollBack(error);
    } finally {
      this.#stopDeadline();
      this.#release?.();
    }
  }

  /** All that needs no fence: the giver's preparation, sessions, guardrails, the plan of the fence, sizes. */
  async #prepare(): Promise<Prepared> {
    const { source, target, options } = this.#input;
    const { signal } = this.#lifetime;
    const until = this.#now() + options.cutoverTimeout * 1000 - SLACK_MS;
    this.#setDeadline();
    const { tables } = await this.#timeline.run('prepare', () => {
      const preparing = this.#input.prepare(signal);
      this.#opening = preparing.catch(() => undefined);
      return bounded(preparing, signal);
    });
    const { prepared } = await this.#timeline.run('guardrails', async (say) => {
      const [from, into] = await Promise.all([this.#open(source, 'source'), this.#open(target, 'target')]);
      this.#backend = await backendOf(into);
      const { major } = await readServerVersion(from);
      const counted = await chooseCounted(from, major, tables);
      const guardrails = await this.#untilNothingWaits(until, say);
      const plan = await chooseFence(from, tables);
      const made: Prepared = { source: from, target: into, backend: this.#backend, plan, tables, counted };
      const remarks = guardrails.filter((one) => one.remedy !== '').map((one) => one.remedy);
      return { prepared: made, detail: [`${guardrails.length} conditions are met.`, ...remarks].join(' ') };
    });
    return prepared;
  }

  async #open(settings: ConnectionSettings, side: Side): Promise<Session> {
    const session = await openSession(settings, { signal: this.#lifetime.signal, side, purpose: 'cutover' });
    this.#sessions.push(session);
    return session;
  }

  async #untilNothingWaits(until: number, say: (text: string) => void): Promise<readonly Guardrail[]> {
    const { signal } = this.#lifetime;
    for (;;) {
      const guardrails = await bounded(this.#input.readGuardrails(), signal);
      const blocking = guardrails.find((one) => one.state === 'blocks');
      if (blocking !== undefined) throw refused('CUTOVER_BLOCKED', blocking, false);
      const waiting = guardrails.find((one) => one.state === 'waits');
      if (waiting === undefined) return guardrails;
      const left = until - this.#now();
      if (left <= 0) throw refused('CUTOVER_NOT_CALM', waiting, true);
      say(waiting.found);
      await sleep(Math.min(GUARDRAILS_EVERY_MS, left), undefined, { signal }).catch(() => throwIfAborted(signal));
    }
  }

  async #raise(plan: FencePlan): Promise<Fence> {
    const { source, job, log } = this.#input;
    const { signal } = this.#lifetime;
    const timeoutMs = this.#input.options.cutoverTimeout * 1000;
    this.#fencing = true;
    this.#setDeadline();
    const { fence } = await this.#timeline.run('fence', async (say) => {
      const raised = await raiseFence({
        settings: source,
        job,
        plan,
        signal,
        deadlineAt: this.#now() + timeoutMs - SLACK_MS,
        onState: say,
        record: (state) => this.#record(state),
        onAltering: (by) => {
          this.#altering = by;
        },
        log,
        onLost: (error) => {
          if (!this.#committing) this.#lifetime.abort(error);
        },
        now: this.#now,
      });
      this.#fence = raised;
      const by = raised.means === 'lock' ? `Locked ${plan.tables.length} tables` : `Made ${plan.database} read-only`;
      return { fence: raised, detail: `${by} at attempt ${raised.attempts}.` };
    });
    return fence;
  }

  async #record(state: ReadOnlyState | null): Promise<void> {
    await this.#input.recordReadOnly(state);
    this.#readOnly = state;
  }

  async #beforeCommit(prepared: Prepared, fence: Fence): Promise<void> {
    const input = this.#input;
    const { source, target } = prepared;
    const { signal } = this.#lifetime;
    await this.#timeline.run('drain', async (say) => {
      const lsn = await fence.lsn();
      this.#lsn = lsn;
      say(`Applying what was written before ${formatLsn(lsn)}.`);
      await bounded(input.drainTo(lsn, signal), signal);
      await this.#pauseApply();
      return { detail: `Applied everything before ${formatLsn(lsn)}.` };
    });
    await fence.assertStanding();
    // The source stands still, so its snapshot is opened beside the target's work.
    const snapshots = this.#timeline.run('snapshots', () => {
      const opening = input.openSourceSnapshot();
      this.#opening = opening.catch(() => undefined);
      return bounded(opening, signal);
    });
    const finishing = this.#finish(prepared);
    const [, sequences] = await Promise.all([snapshots, finishing]);
    await this.#timeline.run('refuse-writes', async () => {
      const open = await fence.refuseWrites();
      this.#todo.push(...open);
      // They move under any fence; from here on nobody is left who could move them.
      const moved = movedSequences(sequences, await bounded(input.readSequences(source), signal));
      if (moved.length > 0) await bounded(input.writeSequences(target, moved), signal);
      const set = moved.length === 0 ? '' : ` Set ${moved.length} sequences again that had moved.`;
      const left = open.length === 0 ? 'Nobody can write on the source any more.' : open.join(' ');
      return { detail: `${left}${set}` };
    });
  }

  /** Sequences, the schema's rest and the counts, in the target's open transaction. */
  async #finish({ source, target, tables: all, counted }: Prepared): Promise<readonly SequenceLike[]> {
    const input = this.#input;
    const { signal } = this.#lifetime;
    const { sequences } = await this.#timeline.run('sequences', async () => {
      const read = await bounded(input.readSequences(source), signal);
      return { sequences: read, detail: `Read ${read.length} sequences.` };
    });
    await this.#timeline.run('constraints', async () => {
      await target.run('BEGIN ISOLATION LEVEL READ COMMITTED');
      const finished = await bounded(input.finish(target, sequences), signal);
      await target.run(input.finishProgressSql);
      return finished;
    });
    await this.#timeline.run('counts', async () => {
      const { tables, rows } = await compareCounts({ source, target, tables: counted, signal });
      return { detail: `${rows} rows in ${tables} of ${all.length} tables are the same on both sides.` };
    });
    return sequences;
  }

  async #pauseApply(): Promise<void> {
    const { signal } = this.#lifetime;
    const pause = async (): Promise<void> => {
      const release = await this.#input.pauseApply();
      // One that comes after the deadline must not hold the follower for ever.
      if (signal.aborted) release();
      else this.#release = release;
    };
    await bounded(pause(), signal);
  }

  async #commit({ target, backend }: Prepared, fence: Fence): Promise<void> {
    const { target: settings, job, signal, log } = this.#input;
    await fence.assertStanding();
    throwIfAborted(this.#lifetime.signal);
    this.#committing = true;
    this.#input.onCommit?.('begins');
    this.#stopDeadline();
    try {
      await commitForSure({ target, settings, backend, job, signal, log });
    } catch (error) {
      if (!(error instanceof PgsluiceError) || error.code !== 'CUTOVER_UNDECIDED') {
        this.#committing = false;
        this.#input.onCommit?.('failed');
      }
      throw error;
    }
  }

  async #after(fence: Fence): Promise<CutoverOutcome> {
    const { signal, log } = this.#input;
    // The fence outlives the attempt: it ends with `lift`, or with the job.
    signal.addEventListener('abort', () => this.#lifetime.abort(signal.reason), { once: true });
    await this.#timeline.run('hand-over', async () => ({ detail: await this.#handOver() }));
    const downtimeMs = this.#now() - fence.raisedAt;
    await this.#leave('the fence', () => fence.assertStanding(), 'Look for writes on the source after the hand-over.');
    await this.#timeline.run('drop-slot', async () => {
      await this.#leave('dropping the slot', () => this.#input.dropSlot(), 'It is dropped when the job ends.');
      return { detail: '' };
    });
    await Promise.all(this.#sessions.map((session) => session.close()));
    if (signal.aborted) this.#lifetime.abort(signal.reason);
    log('info', `The target has taken over; writes were stopped for ${downtimeMs} ms.`);
    return { kind: 'handed-over', fence, report: this.#report(downtimeMs), todo: [...this.#todo] };
  }

  async #handOver(): Promise<string> {
    const input = this.#input;
    const [, snapshot] = await Promise.all([
      this.#leave(
        'storing the hand-over',
        () => input.recordHandedOver(),
        'The target itself keeps that it has taken over.',
      ),
      this.#leave(
        'the snapshot of the target',
        () => input.openTargetSnapshot(),
        'Compare both sides with a new job that only verifies.',
      ),
    ]);
    const told = await this.#leave(
      'the hand-over',
      () => input.handOver(),
      'Point your application to the target by hand.',
    );
    return [snapshot?.detail, told?.detail ?? 'The hand-over hook failed.']
      .filter((text) => text !== undefined && text !== '')
      .join(' ');
  }

  /** After the commit nothing rolls back: what fails is told and left for a person, unless the agent stops and will go on itself. */
  async #leave<T>(what: string, work: () => Promise<T>, remedy: string): Promise<T | null> {
    try {
      return await work();
    } catch (error) {
      if (this.#input.signal.aborted) return null;
      const { message, hint } = asError(error);
      this.#input.log('error', `The target has taken over, but ${what} failed: ${message} ${hint}`);
      this.#todo.push(`${message} ${remedy}`);
      return null;
    }
  }

  async #rollBack(thrown: unknown): Promise<CutoverOutcome> {
    const reason: unknown = this.#lifetime.signal.aborted ? this.#lifetime.signal.reason : thrown;
    const why = asCutoverError(reason);
    const { log } = this.#input;
    log('warn', `The cutover is rolled back: ${why.message}`);
    this.#stopDeadline();
    const undone = this.#undoReadOnly();
    // First the default and then the locks, so that nobody is let go into a refusal; but nobody waits for a source that does not answer.
    await Promise.race([undone, sleep(UNDO_FIRST_MS, undefined, { ref: false })]);
    await this.#fence?.lift();
    await undone;
    this.#lifetime.abort(why);
    await Promise.all(this.#sessions.map((session) => session.close()));
    if (this.#backend !== null) await endTransaction(this.#input.target, this.#backend, log);
    // What is still being prepared or opened is its giver's to end, and it can only do so once it has it.
    await Promise.race([this.#opening, sleep(OPENING_MS, undefined, { ref: false })]);
    this.#release?.();
    this.#release = null;
    const writers = this.#fencing ? 'Writers go on at the source; the' : 'The';
    log('info', `${writers} job follows on.`);
    return { kind: 'rolled-back', error: why.report(), report: this.#report(null) };
  }

  async #undoReadOnly(): Promise<void> {
    const { source, log } = this.#input;
    if (this.#readOnly === null) return;
    if (await makeWritable(source, this.#readOnly, this.#altering, log)) await this.#record(null);
  }

  #tooLate(): PgsluiceError {
    const { cutoverTimeout } = this.#input.options;
    const running = this.#timeline.steps.filter((step) => step.ms === null);
    const names = running.map((step) => `${step.step}${step.detail === '' ? '' : ` (${step.detail})`}`).join(', ');
    const at = names === '' ? 'its last step' : names;
    return new PgsluiceError({
      code: 'CUTOVER_TIMEOUT',
      message: this.#fencing
        ? `The cutover did not come to its end within ${cutoverTimeout} s; it was at: ${at}.`
        : `The cutover was not prepared within ${cutoverTimeout} s, so no write was stopped; it was at: ${at}.`,
      hint: 'Start it again at a calmer time, or raise --cutover-timeout.',
      retryable: true,
    });
  }

  /** The one before counts no more. */
  #setDeadline(): void {
    this.#stopDeadline();
    const ms = this.#input.options.cutoverTimeout * 1000;
    this.#deadline = setTimeout(() => this.#lifetime.abort(this.#tooLate()), ms);
  }

  #stopDeadline(): void {
    if (this.#deadline !== null) clearTimeout(this.#deadline);
    this.#deadline = null;
  }

  #report(downtimeMs: number | null): CutoverReport {
    return {
      steps: this.#timeline.steps,
      downtimeMs,
      fencedBy: this.#fence?.means ?? null,
      lsn: this.#lsn === null ? null : formatLsn(this.#lsn),
      attempts: this.#fence?.attempts ?? 0,
    };
  }
}

/**
 * Lets the target take over: fences the source, drains the stream, finishes the target in one transaction, commits it, tells the world.
 * Whatever fails before the commit is rolled back, and the answer says why; after it nothing is.
 * @throws PgsluiceError CUTOVER_UNDECIDED when the agent is stopped before the target could say whether it has committed.
 */
export async function runCutover(input: CutoverInput): Promise<CutoverOutcome> {
  return await new Cutover(input).run();
}
