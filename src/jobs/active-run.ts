import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobEventBody, JobState } from '../contract/event.ts';
import { cancelledError, PgsluiceError, throwIfAborted } from '../errors.ts';
import { PauseGate } from '../gate.ts';
import { Pace } from '../pace.ts';
import { type AcceptanceRow, acceptancesOf } from '../store/acceptance-queries.ts';
import { lastProgress } from '../store/event-queries.ts';
import { clearChecks, clearTables, type JobRow, standingNames } from '../store/job-queries.ts';
import { JobHooks, hookTodo } from './hooks.ts';
import { Surroundings } from './surroundings.ts';
import { UnderWay } from './under-way.ts';
import { type Endpoints, type LiveFacts, type Sides, bothOf } from './job-view.ts';
import { Hold } from './hold.ts';
import { LiveHand } from './live-hand.ts';
import type { JobWriter } from './job-writer.ts';
import type { CloneRun } from '../clone/clone.ts';
import { withAcceptance } from './acceptance.ts';
import type { KeptMoment } from './run-archive-context.ts';
import { runKind } from './run-kind.ts';
import type { HeldRun, RunContext, RunEnd } from './run-job.ts';
import { RunEndings, type RunFacts } from './run-endings.ts';
import { cleanMs, hurriedMs, type RunEnvironment, stoppedCode } from './run-environment.ts';
import { keptWords, notNow, overAlready } from './run-words.ts';
import { reachedIn } from './validate-again.ts';

/**
 * A job in the hands of this agent. Lifecycle: queued → active → (held → active)* → over.
 * `held`: the copy failed and its snapshot or slot is kept for a retry, for a limited time. One AbortSignal for all of it.
 */
export class ActiveRun {
  readonly id: string;
  readonly writer: JobWriter;
  readonly #environment: RunEnvironment;
  readonly #row: JobRow;
  readonly #sides: Sides;
  readonly #onOver: (run: ActiveRun) => void;
  readonly #controller = new AbortController();
  readonly #gate: PauseGate;
  #stage: 'queued' | 'active' | 'held' | 'over' = 'queued';
  #enqueued = false;
  #held: HeldRun | null = null;
  readonly #live: LiveHand;
  #pausedFrom: JobState | null = null;
  #leavePlace: () => void = () => undefined;
  #clone: CloneRun | null = null;
  #moment: KeptMoment | null = null;
  readonly #hooks: JobHooks;
  readonly #surroundings = new Surroundings();
  readonly #underWay = new UnderWay();
  #acceptances: readonly AcceptanceRow[] = [];
  readonly #facts: RunFacts;
  readonly #endings: RunEndings;
  #workDir: string | null = null;
  #hold: Hold | null = null;
  #settled: Promise<void> = Promise.resolve();
  #begun: Promise<void> = Promise.resolve();
  #markBegun: () => void = () => undefined;
  #concluding = false;

  constructor(
    environment: RunEnvironment,
    job: { row: JobRow; sides: Sides; writer: JobWriter },
    onOver: (run: ActiveRun) => void,
  ) {
    this.#environment = environment;
    this.id = job.row.id;
    this.writer = job.writer;
    this.#row = job.row;
    this.#gate = new PauseGate(new Pace(job.row.options.maxRate ?? null));
    this.#sides = job.sides;
    this.#onOver = onOver;
    const { startedAt, phase, targetTouched } = job.row;
    this.#facts = { goal: 'validate', phase, startedAt, snapshotAt: null, targetTouched, hookTodo: [] };
    this.#live = new LiveHand({ state: job.row.live, patch: (patch) => this.writer.patch(patch) });
    this.#hooks = new JobHooks({
      ...environment.hooks,
      db: environment.store.db,
      row: job.row,
      sides: job.sides,
      signal: this.#controller.signal,
      log: (level, message) => this.writer.say(level, message),
    });
    this.#endings = new RunEndings({
      ...job,
      environment,
      live: this.#live,
      hooks: this.#hooks,
      surroundings: this.#surroundings,
      signal: this.#controller.signal,
      facts: this.#facts,
    });
  }

  get stage(): 'queued' | 'active' | 'held' | 'over' {
    return this.#stage;
  }

  /** Bytes a second that it may take from its source now; null: no limit. */
  get rate(): number | null {
    return this.#gate.pace.limit;
  }

  get paused(): boolean {
    return this.#gate.paused;
  }

  /** Resolves when the attempt that is queued or active now has ended; never rejects. */
  get settled(): Promise<void> {
    return this.#settled;
  }

  /** Resolves when the attempt has reached its first new state, or has ended. */
  get begun(): Promise<void> {
    return Promise.race([this.#begun, this.#settled]);
  }

  /** True while a failed run can be retried under its snapshot, or with its slot. */
  get canRetry(): boolean {
    const held = this.#held;
    if (this.#stage !== 'held' || held === null) return false;
    if (held.kind === 'live') return this.#live.stands;
    return held.copied === null ? held.clone.canRetry : held.clone.snapshot?.alive === true;
  }

  live(): LiveFacts {
    const kept = this.#stage === 'active' && this.paused && this.#kept?.alive === true;
    return {
      queued: this.#stage === 'queued',
      snapshotAlive: kept || this.canRetry,
      snapshotAt: this.#facts.snapshotAt,
      progress: this.#live.progress,
    };
  }

  get #kept(): KeptMoment | null {
    return this.#clone?.snapshot ?? this.#moment;
  }

  /** Of a move. @throws RangeError for an export or an import. */
  get #endpoints(): Endpoints {
    return bothOf(this.id, this.#sides);
  }

  /** Puts the run (again) into the queue; `enqueue` calls back when its turn has come. */
  queue(goal: RunContext['goal'], enqueue: (task: () => Promise<void>) => Promise<void>): void {
    this.#hold?.end();
    this.#stage = 'queued';
    this.#begun = new Promise((resolve) => {
      this.#markBegun = resolve;
    });
    this.#enqueued = true;
    const left = new Promise<void>((resolve) => {
      this.#leavePlace = resolve;
    });
    let execution: Promise<void> = Promise.resolve();
    const turn = enqueue(async () => {
      execution = this.#execute(goal);
      await Promise.race([execution, left]);
    });
    this.#settled = turn.then(() => execution);
  }

  /** Stops at the next safe point; connections and snapshot, or the slot, are kept. */
  async pause(): Promise<void> {
    const from = this.writer.state;
    this.#gate.pause();
    try {
      if (this.#concluding) throw overAlready();
      if (from !== 'running' && from !== 'following' && !this.#compares(from)) throw notNow(from);
      const kept = keptWords(this.#row.kind, this.#live.stands);
      const reason = `Paused by a person; ${kept}.${this.#underWay.words}`;
      await this.writer.move('paused', reason, { goesOn: false }, from);
      this.#pausedFrom = from;
    } catch (error) {
      this.#gate.resume();
      throw error;
    }
  }

  /** A copy that is compared with a source that others use; a live job is compared when its users have left the source. */
  #compares(state: JobState): boolean {
    return state === 'verifying' && this.#row.kind === 'move' && !this.#live.stands;
  }

  async resume(): Promise<void> {
    const how =
      this.#live.stands || this.#row.kind === 'import'
        ? 'Resumed; nothing was lost meanwhile.'
        : 'Resumed under the same snapshot.';
    const patch = { error: null, goesOn: this.#live.stands };
    await this.writer.move(this.#pausedFrom ?? 'running', how, patch, 'paused');
    this.#gate.resume();
  }

  /** Asks for the cutover; resolves when it has begun. @throws PgsluiceError why it did not begin. */
  async cutover(): Promise<void> {
    await this.#live.requests.ask();
  }

  /**
   * Ends the run because a person wants it; resolves when both servers are left.
   * @throws PgsluiceError ALREADY_HANDED_OVER when the target has taken over.
   */
  async cancel(): Promise<void> {
    await this.#assertCancellable();
    await this.#end(cancelledError('Cancelled by a person.'));
    this.#live.assertCancellable();
  }

  async #assertCancellable(): Promise<void> {
    try {
      if (this.#stage === 'active') return this.#live.assertCancellable();
      await this.#live.askCancellable((signal) =>
        this.#environment.rooms.live.hasFinished(this.#endpoints.target, this.id, signal),
      );
    } catch (error) {
      if (this.#stage === 'queued' && !this.#enqueued) await this.#release();
      throw error;
    }
  }

  /** Ends the run because the agent stops; the job stays resumable. */
  async stop(why: string): Promise<void> {
    await this.#end(
      new PgsluiceError({ code: stoppedCode, message: `The agent was stopped (${why}).`, hint: 'Resume the job.' }),
    );
  }

  /** Ends the run because nothing can be stored any more. */
  abandon(error: PgsluiceError): void {
    this.#environment.logger.error({ job: this.id, code: error.code }, error.message);
    this.#controller.abort(error);
  }

  async #end(reason: PgsluiceError): Promise<void> {
    const stage = this.#stage;
    this.#controller.abort(reason);
    if (stage === 'active') await this.#settled;
    if (stage === 'queued') {
      this.#stage = 'active';
      if (this.#held?.kind === 'copy') await this.#held.clone.close();
      await this.#endEarly(reason);
    }
    if (stage === 'held') await this.#endHeld(reason);
  }

  async #endHeld(reason: PgsluiceError): Promise<void> {
    this.#stage = 'active';
    const what = this.#held?.kind === 'live' ? 'slot' : 'snapshot';
    if (this.#held?.kind === 'copy') await this.#held.clone.close();
    if (reason.code === stoppedCode) {
      this.writer.say('warn', `${reason.message} The ${what} is given up; a retry copies everything anew.`);
      if (what === 'slot') await this.#endings.clean(hurriedMs);
      await this.#release();
    } else {
      await this.#endEarly(reason);
    }
  }

  /** Gives up the snapshot or the slot of a failed copy; the job stays failed. */
  async release(why: string): Promise<void> {
    if (this.#stage !== 'held') return;
    this.#stage = 'active';
    this.#hold?.end();
    this.writer.say('info', why);
    if (this.#held?.kind === 'copy') await this.#held.clone.close();
    if (this.#held?.kind === 'live') await this.#endings.clean(cleanMs);
    await this.#release();
  }

  /** One attempt, from its turn in the queue to its end. Never rejects. */
  async #execute(goal: RunContext['goal']): Promise<void> {
    if (this.#stage !== 'queued') return;
    this.#stage = 'active';
    this.#concluding = false;
    const held = this.#held;
    this.#held = null;
    let failure: unknown;
    try {
      throwIfAborted(this.#controller.signal);
      const end = await this.#run(await this.#begin(goal, held), held);
      while (end.status === 'completed' && this.paused) await this.#gate.wait(this.#controller.signal);
      this.#concluding = true;
      await this.#finish(end);
      return;
    } catch (error) {
      failure = this.#controller.signal.aborted ? (this.#controller.signal.reason as unknown) : error;
    }
    await this.#endEarly(failure);
  }

  #run(context: Omit<RunContext, 'source' | 'target'>, held: HeldRun | null): Promise<RunEnd> {
    return runKind({ row: this.#row, sides: this.#sides, context, held }, (moment) => {
      this.#moment = moment;
      this.#facts.snapshotAt = new Date(moment.takenAt);
    });
  }

  async #begin(goal: RunContext['goal'], held: HeldRun | null): Promise<Omit<RunContext, 'source' | 'target'>> {
    const { store, rooms, pgBinDir } = this.#environment;
    const begun = this.#live.stands || this.#live.handedOver;
    const goesOn = begun && (held !== null || this.writer.state === 'paused');
    const anew = held === null && !goesOn;
    if (goal === 'migrate' && anew) this.#facts.startedAt = new Date();
    this.#facts.goal = goal;
    this.#facts.hookTodo = [];
    if (anew) {
      this.#facts.snapshotAt = null;
      this.#moment = null;
      this.writer.log.totals.reset();
    }
    await this.writer.patch({
      held: true,
      startedAt: this.#facts.startedAt,
      finishedAt: null,
      error: null,
      verified: false,
      differences: 0,
      // A live job that was asked to run goes on from its first moment, whenever its agent ends.
      ...(goesOn || (goal === 'migrate' && this.#row.options.method === 'live') ? { goesOn: true } : {}),
      ...(anew ? { snapshotAt: null, totals: this.writer.log.totals.totals } : {}),
    });
    this.#workDir ??= await mkdtemp(join(store.workRoot, `pgsluice-${this.id}-`));
    return {
      id: this.id,
      options: this.#row.options,
      goal,
      rooms: {
        ...this.#surroundings.watch(rooms),
        createClone: (input, early) => {
          this.#clone = rooms.createClone(input, early);
          return this.#clone;
        },
      },
      pgBinDir,
      workDir: this.#workDir,
      signal: this.#controller.signal,
      gate: this.#gate,
      targetTouched: this.#facts.targetTouched,
      live: this.#live,
      goesOn,
      emit: (body) => this.#emit(body),
      move: async (to, reason, patch) => {
        await this.#gate.wait(this.#controller.signal);
        throwIfAborted(this.#controller.signal);
        await this.writer.move(to, reason, { ...patch, ...this.#endings.snapshotPatch });
        this.#markBegun();
      },
      hook: (moment) => this.#hook(moment),
      pauseWith: (error) => this.#pauseWith(error),
      leavePlace: () => this.#leavePlace(),
      totals: () => this.writer.log.totals.totals,
      touchTarget: async () => {
        this.#facts.targetTouched = true;
        await this.writer.patch({ targetTouched: true });
      },
      standingNames: () => standingNames(store.db),
      lastStored: async () => (await lastProgress(store.db, this.id))?.storedLsn ?? null,
      clearChecks: async () => {
        await this.writer.log.drain();
        const cleared = await clearChecks(store.db, this.id);
        this.#acceptances = await acceptancesOf(store.db, this.id);
        return reachedIn(cleared);
      },
      clearTables: async () => {
        await this.writer.log.drain();
        await clearTables(store.db, this.id);
      },
    };
  }

  async #hook(moment: Parameters<RunContext['hook']>[0]): Promise<PgsluiceError | null> {
    const failures = await this.#hooks.run(moment, this.writer.state, null);
    if (moment !== 'after-cutover') return failures[0] ?? null;
    this.#facts.hookTodo.push(...hookTodo(failures));
    return null;
  }

  async #pauseWith(error: PgsluiceError): Promise<void> {
    const { signal } = this.#controller;
    await this.#gate.wait(signal);
    throwIfAborted(signal);
    const { code, message, hint } = error;
    this.#pausedFrom = this.writer.state;
    this.#gate.pause();
    this.writer.say('error', `${message} ${hint}`.trim());
    await this.writer.move('paused', message, { goesOn: false, error: { code, message, hint } });
    this.#live.requests.refuse(error);
  }

  #emit(body: JobEventBody): void {
    if (this.#stage !== 'active') return;
    if (body.type === 'metric' && body.live !== undefined) this.#live.progress = body.live;
    if (body.type === 'phase' && body.status === 'started') {
      this.#facts.phase = body.phase;
      const takenAt = this.#clone?.snapshot?.takenAt;
      if (takenAt !== undefined) this.#facts.snapshotAt ??= new Date(takenAt);
    }
    const still = this.#underWay.note(body) && this.paused;
    if (body.type === 'check') this.writer.emit({ ...body, check: withAcceptance(body.check, this.#acceptances) });
    else this.writer.emit(body);
    if (still) this.writer.say('info', 'What was under way has come to its end; nothing of the job runs now.');
  }

  /** The run came to its own end. */
  async #finish(end: RunEnd): Promise<void> {
    if (end.status === 'ready') {
      await this.writer.patch({ held: false });
      await this.#over();
      return;
    }
    this.#held = end.held;
    const how = await this.#endings.own(end.status, end);
    if (this.#isOver()) return;
    if (how === 'resumable' || end.held === null) {
      await this.#release();
      return;
    }
    this.#stage = 'held';
    const { source } = this.#sides;
    const { signal } = this.#controller;
    const release = (why: string): Promise<void> => this.release(why);
    const input = { row: this.#row, held: end.held, source, live: this.#live.state, signal, writer: this.writer };
    this.#hold = new Hold(this.#environment, { ...input, release });
  }

  /** The run was ended from outside, or something that is not a result of the run failed. Never rejects. */
  async #endEarly(failure: unknown): Promise<void> {
    if (this.#stage === 'over') return;
    await this.#endings.early(failure);
    await this.#release();
  }

  /** For a run that does not end in time when the agent stops: the job is marked as resumable, and what the run still does is ignored. */
  async force(why: string): Promise<void> {
    if (this.#stage === 'over') return;
    this.#stage = 'over';
    await this.#endings.forced(why);
  }

  /** Marks the job as in nobody's hands, and ends. Never rejects. */
  async #release(): Promise<void> {
    try {
      await this.writer.patch({ held: false });
    } catch (error) {
      this.#environment.logger.warn({ job: this.id, err: error }, 'a job was not given back');
    }
    await this.#over();
  }

  /** Another call may have ended the run while this one waited; a plain comparison would be narrowed away by the compiler. */
  #isOver(): boolean {
    return this.#stage === 'over';
  }

  async #over(): Promise<void> {
    if (this.#isOver()) return;
    this.#stage = 'over';
    this.#live.requests.refuse(notNow(this.writer.state));
    this.#hold?.end();
    await this.writer.close();
    if (this.#workDir !== null) rmSync(this.#workDir, { recursive: true, force: true });
    this.#onOver(this);
  }
}
