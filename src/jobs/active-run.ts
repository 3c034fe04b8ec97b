import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { JobEventBody, JobState, Phase } from '../contract/event.ts';
import { cancelledError, type ErrorReport, PgsluiceError, throwIfAborted } from '../errors.ts';
import { PauseGate } from '../gate.ts';
import { clearChecks, clearTables, type JobPatch, type JobRow, saveReport } from '../store/job-queries.ts';
import type { Store } from '../store/store.ts';
import { type Ending, buildReport, isVerified, resultEvent, type ResultStatus } from './job-report.ts';
import { describeTarget } from './job-summary.ts';
import type { Endpoints, LiveFacts } from './job-view.ts';
import type { JobWriter } from './job-writer.ts';
import type { JobRooms } from './rooms.ts';
import type { CloneRun } from '../clone/clone.ts';
import { asReport, type HeldCopy, type RunContext, type RunEnd, runJob } from './run-job.ts';
import { isWorking } from './transitions.ts';

export interface RunEnvironment {
  readonly store: Store;
  readonly rooms: JobRooms;
  readonly pgBinDir: string | null;
  readonly logger: Logger;
  readonly holdSnapshotMs: number;
}

export const stoppedCode = 'AGENT_STOPPED';

/**
 * A job in the hands of this agent. Lifecycle: queued → active → (held → active)* → over.
 * `held`: the copy failed and its snapshot is kept for a retry, for a limited time. One AbortSignal for all of it.
 */
export class ActiveRun {
  readonly id: string;
  readonly writer: JobWriter;
  readonly #environment: RunEnvironment;
  readonly #row: JobRow;
  readonly #endpoints: Endpoints;
  readonly #onOver: (run: ActiveRun) => void;
  readonly #controller = new AbortController();
  readonly #gate = new PauseGate();
  #stage: 'queued' | 'active' | 'held' | 'over' = 'queued';
  #held: HeldCopy | null = null;
  #clone: CloneRun | null = null;
  #snapshotAt: Date | null = null;
  #startedAt: Date | null;
  #phase: Phase | null;
  #targetTouched: boolean;
  #workDir: string | null = null;
  #expiry: NodeJS.Timeout | null = null;
  #settled: Promise<void> = Promise.resolve();
  #begun: Promise<void> = Promise.resolve();
  #markBegun: () => void = () => undefined;
  #concluding = false;

  constructor(
    environment: RunEnvironment,
    job: { row: JobRow; endpoints: Endpoints; writer: JobWriter },
    onOver: (run: ActiveRun) => void,
  ) {
    this.#environment = environment;
    this.id = job.row.id;
    this.writer = job.writer;
    this.#row = job.row;
    this.#endpoints = job.endpoints;
    this.#onOver = onOver;
    this.#startedAt = job.row.startedAt;
    this.#phase = job.row.phase;
    this.#targetTouched = job.row.targetTouched;
  }

  get stage(): 'queued' | 'active' | 'held' | 'over' {
    return this.#stage;
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

  /** True while a failed copy can be retried under its snapshot. */
  get canRetry(): boolean {
    const held = this.#held;
    if (this.#stage !== 'held' || held === null) return false;
    return held.copied === null ? held.clone.canRetry : held.clone.snapshot?.alive === true;
  }

  live(): LiveFacts {
    const kept = this.#stage === 'active' && this.paused && this.#clone?.snapshot?.alive === true;
    return { queued: this.#stage === 'queued', snapshotAlive: kept || this.canRetry, snapshotAt: this.#snapshotAt };
  }

  /** Puts the run (again) into the queue; `enqueue` calls back when its turn has come. */
  queue(goal: RunContext['goal'], enqueue: (task: () => Promise<void>) => Promise<void>): void {
    if (this.#expiry !== null) clearTimeout(this.#expiry);
    this.#expiry = null;
    this.#stage = 'queued';
    this.#begun = new Promise((resolve) => {
      this.#markBegun = resolve;
    });
    this.#settled = enqueue(() => this.#execute(goal));
  }

  /** Stops at the next safe point; connections and snapshot are kept. */
  async pause(): Promise<void> {
    this.#gate.pause();
    try {
      if (this.#concluding) throw overAlready();
      await this.writer.move('paused', 'Paused by a person; the snapshot is kept.', {}, 'running');
    } catch (error) {
      this.#gate.resume();
      throw error;
    }
  }

  async resume(): Promise<void> {
    await this.writer.move('running', 'Resumed under the same snapshot.', {}, 'paused');
    this.#gate.resume();
  }

  /** Ends the run because a person wants it; resolves when both servers are left. */
  async cancel(): Promise<void> {
    await this.#end(cancelledError('Cancelled by a person.'));
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
      await this.#held?.clone.close();
      await this.#endEarly(reason);
    }
    if (stage === 'held') await this.#endHeld(reason);
  }

  async #endHeld(reason: PgsluiceError): Promise<void> {
    this.#stage = 'active';
    await this.#held?.clone.close();
    if (reason.code === stoppedCode) {
      this.writer.say('warn', `${reason.message} The snapshot is given up; a retry copies everything anew.`);
      await this.#release();
    } else {
      await this.#endEarly(reason);
    }
  }

  /** Gives up the snapshot of a failed copy; the job stays failed. */
  async release(why: string): Promise<void> {
    if (this.#stage !== 'held') return;
    this.#stage = 'active';
    await this.#held?.clone.close();
    this.writer.say('info', why);
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
      const end = await runJob(await this.#begin(goal, held), held);
      while (end.status === 'completed' && this.paused) await this.#gate.wait(this.#controller.signal);
      this.#concluding = true;
      await this.#finish(end);
      return;
    } catch (error) {
      failure = this.#controller.signal.aborted ? (this.#controller.signal.reason as unknown) : error;
    }
    await this.#endEarly(failure);
  }

  async #begin(goal: RunContext['goal'], held: HeldCopy | null): Promise<RunContext> {
    const { store, rooms, pgBinDir } = this.#environment;
    if (goal === 'migrate' && held === null) this.#startedAt = new Date();
    if (held === null) {
      this.#snapshotAt = null;
      this.writer.log.totals.reset();
    }
    await this.writer.patch({
      held: true,
      startedAt: this.#startedAt,
      finishedAt: null,
      error: null,
      verified: false,
      differences: 0,
      ...(held === null ? { snapshotAt: null, totals: this.writer.log.totals.totals } : {}),
    });
    this.#workDir ??= await mkdtemp(join(store.workRoot, `pgsluice-${this.id}-`));
    return {
      ...this.#endpoints,
      options: this.#row.options,
      goal,
      rooms: {
        ...rooms,
        createClone: (input) => {
          this.#clone = rooms.createClone(input);
          return this.#clone;
        },
      },
      pgBinDir,
      workDir: this.#workDir,
      signal: this.#controller.signal,
      gate: this.#gate,
      targetTouched: this.#targetTouched,
      emit: (body) => this.#emit(body),
      move: async (to, reason, patch) => {
        await this.#gate.wait(this.#controller.signal);
        throwIfAborted(this.#controller.signal);
        await this.writer.move(to, reason, { ...patch, ...this.#snapshotPatch() });
        this.#markBegun();
      },
      touchTarget: async () => {
        this.#targetTouched = true;
        await this.writer.patch({ targetTouched: true });
      },
      clearChecks: async () => {
        await this.writer.log.drain();
        await clearChecks(store.db, this.id);
      },
      clearTables: async () => {
        await this.writer.log.drain();
        await clearTables(store.db, this.id);
      },
    };
  }

  #emit(body: JobEventBody): void {
    if (this.#stage !== 'active') return;
    if (body.type === 'phase' && body.status === 'started') {
      this.#phase = body.phase;
      const takenAt = this.#clone?.snapshot?.takenAt;
      if (takenAt !== undefined) this.#snapshotAt ??= new Date(takenAt);
    }
    this.writer.emit(body);
  }

  #snapshotPatch(): JobPatch {
    return this.#snapshotAt === null ? {} : { snapshotAt: this.#snapshotAt };
  }

  /** The run came to its own end. */
  async #finish(end: RunEnd): Promise<void> {
    if (end.status === 'ready') {
      await this.writer.patch({ held: false });
      await this.#over();
      return;
    }
    this.#held = end.held;
    await this.#conclude(end.status, end, end.error, end.error?.message ?? completedWords(end));
    if (this.#isOver()) return;
    if (end.held === null) {
      await this.#release();
      return;
    }
    const minutes = Math.round(this.#environment.holdSnapshotMs / 60_000);
    this.#stage = 'held';
    this.#expiry = setTimeout(() => {
      this.release(
        `The snapshot was kept for ${minutes} minutes and is given up; a retry copies everything anew.`,
      ).catch((error: unknown) =>
        this.#environment.logger.error({ job: this.id, err: error }, 'a snapshot was not given up'),
      );
    }, this.#environment.holdSnapshotMs);
    this.#expiry.unref();
  }

  /** The run was ended from outside, or something that is not a result of the run failed. Never rejects. */
  async #endEarly(failure: unknown): Promise<void> {
    if (this.#stage === 'over') return;
    try {
      const error = asReport(failure);
      if (error.code === 'INTERNAL') this.#environment.logger.error({ job: this.id, err: failure }, error.message);
      if (error.code === stoppedCode) await this.#becomeResumable(error.message);
      else if (error.code === 'CANCELLED') {
        this.writer.say('warn', `${error.message} ${this.#targetWords()}`);
        await this.#conclude('cancelled', null, null, error.message);
      } else {
        await this.#conclude('failed', null, error, error.message);
      }
    } catch (error) {
      this.#environment.logger.error({ job: this.id, err: error }, 'the end of a job could not be stored');
    }
    await this.#release();
  }

  async #becomeResumable(message: string): Promise<void> {
    if (!isWorking(this.writer.state) && this.writer.state !== 'paused') {
      this.writer.say('warn', `${message} The job had not begun; start it again.`);
      return;
    }
    const words = `${message} ${interruptedWords}`;
    if (this.writer.state !== 'paused') await this.writer.move('paused', words, this.#snapshotPatch());
    this.writer.say('warn', `${words} ${this.#targetWords()}`);
  }

  async #conclude(status: ResultStatus, end: RunEnd | null, error: ErrorReport | null, reason: string): Promise<void> {
    const view = error === null ? null : { code: error.code, message: error.message, hint: error.hint };
    const { totals } = this.writer.log.totals;
    const ending: Ending = {
      status,
      error: view,
      startedAt: this.#startedAt,
      finishedAt: new Date(),
      end,
      counted: { tables: this.writer.log.totals.tablesCopied, rows: totals.rows, bytes: totals.bytes },
    };
    if (view !== null) {
      this.writer.say('error', `${view.message} ${view.hint}`.trim());
      if (status === 'failed') this.writer.say('warn', this.#targetWords());
    }
    const report = buildReport(this.#row, this.#endpoints, ending);
    await saveReport(this.#environment.store.db, this.id, report);
    await this.writer.log.drain();
    await this.writer.move(status satisfies JobState, reason, {
      ...this.#snapshotPatch(),
      error: view,
      verified: isVerified(report.verification),
      differences: report.verification?.differences.length ?? 0,
      finishedAt: ending.finishedAt,
      held: end?.held != null,
    });
    this.writer.emit(resultEvent(report, status));
    await this.writer.log.drain();
  }

  #targetWords(): string {
    return describeTarget({
      targetTouched: this.#targetTouched,
      phase: this.#phase,
      tablesCopied: this.writer.log.totals.tablesCopied,
      tables: this.writer.log.totals.totals.tables,
      schemaOnly: this.#row.options.schemaOnly,
    });
  }

  /** For a run that does not end in time when the agent stops: the job is marked as resumable, and what the run still does is ignored. */
  async force(why: string): Promise<void> {
    if (this.#stage === 'over') return;
    this.#stage = 'over';
    try {
      if (isWorking(this.writer.state))
        await this.writer.move('paused', `The agent was stopped (${why}). ${interruptedWords}`);
      await this.writer.patch({ held: false });
      await this.writer.close();
    } catch (error) {
      this.#environment.logger.error({ job: this.id, err: error }, 'a job was not marked as interrupted');
    }
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
    if (this.#expiry !== null) clearTimeout(this.#expiry);
    await this.writer.close();
    if (this.#workDir !== null) rmSync(this.#workDir, { recursive: true, force: true });
    this.#onOver(this);
  }
}

export const interruptedWords = 'The source is unchanged; resume starts the copy anew under a fresh snapshot.';

function overAlready(): PgsluiceError {
  return new PgsluiceError({
    code: 'INVALID_TRANSITION',
    message: 'The job is coming to its end; it cannot be paused any more.',
    hint: 'Wait a moment and look at the result.',
  });
}

function completedWords(end: RunEnd): string {
  const { verification } = end;
  if (verification === null) return 'Done; nothing was verified.';
  if (verification.verified) return 'Done and verified: the target equals the source.';
  if (verification.differences.length === 0) return 'Done, but not everything could be verified.';
  const found = verification.differences.length;
  return `Done, but verification found ${found} ${found === 1 ? 'difference' : 'differences'}.`;
}
