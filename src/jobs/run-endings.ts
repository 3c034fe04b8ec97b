import type { Phase } from '../contract/event.ts';
import type { ErrorReport } from '../errors.ts';
import type { JobPatch, JobRow } from '../store/job-queries.ts';
import { asReport } from './as-report.ts';
import { cleanRun } from './clean-run.ts';
import { conclude } from './conclude.ts';
import type { JobHooks } from './hooks.ts';
import type { ResultStatus } from './job-report.ts';
import { describeTarget } from './job-summary.ts';
import { noArchiveWords } from './job-summary-archive.ts';
import type { Sides } from './job-view.ts';
import type { JobWriter } from './job-writer.ts';
import type { LiveHand } from './live-hand.ts';
import { cleanMs, type RunEnvironment, stoppedCode, storeCodes } from './run-environment.ts';
import type { RunContext, RunEnd } from './run-job.ts';
import { completedWords, handedOverWords, interruptedWords } from './run-words.ts';
import type { Surroundings } from './surroundings.ts';
import { isWorking } from './transitions.ts';

/** What a run has come to so far: written while it works, told at its end. */
export interface RunFacts {
  goal: RunContext['goal'];
  phase: Phase | null;
  startedAt: Date | null;
  snapshotAt: Date | null;
  targetTouched: boolean;
  /** What hooks have left to a person. */
  hookTodo: string[];
}

export interface EndingsInput {
  readonly environment: RunEnvironment;
  readonly row: JobRow;
  readonly sides: Sides;
  readonly writer: JobWriter;
  readonly live: LiveHand;
  readonly hooks: JobHooks;
  readonly surroundings: Surroundings;
  readonly signal: AbortSignal;
  readonly facts: Readonly<RunFacts>;
}

/** How a run can end, and what is stored and taken off the servers then. Whose hands it is in afterwards is its caller's matter. */
export class RunEndings {
  readonly #input: EndingsInput;

  constructor(input: EndingsInput) {
    this.#input = input;
  }

  get snapshotPatch(): JobPatch {
    const { snapshotAt } = this.#input.facts;
    return snapshotAt === null ? {} : { snapshotAt };
  }

  /**
   * Of a run that came to its own end: the job's last state and report. `resumable`: past the hand-over nothing is taken back, so the
   * job stands and a person resumes it.
   */
  async own(status: Exclude<RunEnd['status'], 'ready'>, end: RunEnd): Promise<'concluded' | 'resumable'> {
    const { live, writer, row } = this.#input;
    if (status === 'failed' && live.handedOver && end.error?.code !== 'CUTOVER_SPLIT') {
      writer.say('error', `${end.error?.message ?? ''} ${end.error?.hint ?? ''}`.trim());
      await this.#becomeResumable(handedOverWords);
      // By a person: what failed once would fail again at every beat.
      await writer.patch({ goesOn: false });
      return 'resumable';
    }
    if (status !== 'completed' && end.held === null) await this.clean(cleanMs);
    await this.#conclude(status, end, end.error, end.error?.message ?? completedWords(end, row.kind));
    return 'concluded';
  }

  /** Of a run that was ended from outside, or by something that is not a result of it. Never rejects. */
  async early(failure: unknown): Promise<void> {
    const { environment, row, live, writer } = this.#input;
    try {
      const error = asReport(failure);
      if (error.code === 'INTERNAL') environment.logger.error({ job: row.id, err: failure }, error.message);
      if (error.code === stoppedCode || (live.stands && storeCodes.has(error.code))) {
        await this.#becomeResumable(error.message);
      } else if (live.handedOver) await this.#becomeResumable(handedOverWords);
      else if (error.code === 'CANCELLED') {
        await this.clean(cleanMs);
        writer.say('warn', `${error.message} ${this.#targetWords()}`);
        await this.#conclude('cancelled', null, null, error.message);
      } else {
        await this.clean(cleanMs);
        await this.#conclude('failed', null, error, error.message);
      }
    } catch (error) {
      environment.logger.error({ job: row.id, err: error }, 'the end of a job could not be stored');
    }
  }

  /** Of a run that does not end in time when the agent stops: the job is marked as resumable. Never rejects. */
  async forced(why: string): Promise<void> {
    const { environment, row, live, writer } = this.#input;
    try {
      if (isWorking(writer.state)) {
        const words = `The agent was stopped (${why}). ${interruptedWords(live.state, row.kind)}`;
        await writer.move('paused', words);
      }
      await writer.patch({ held: false });
      await writer.close();
    } catch (error) {
      environment.logger.error({ job: row.id, err: error }, 'a job was not marked as interrupted');
    }
  }

  /** Takes off the servers what a live run has made there. Never rejects; what is left is swept later (live-sweep.ts). */
  async clean(ms: number): Promise<void> {
    const { environment, row, sides, live, writer } = this.#input;
    await cleanRun({ rooms: environment.rooms, row, sides, live, writer, ms });
  }

  async #becomeResumable(message: string): Promise<void> {
    const { row, live, writer } = this.#input;
    if (!isWorking(writer.state) && writer.state !== 'paused') {
      writer.say('warn', `${message} The job had not begun; start it again.`);
      return;
    }
    const words = `${message} ${interruptedWords(live.state, row.kind)}`;
    if (writer.state !== 'paused') await writer.move('paused', words, this.snapshotPatch);
    writer.say('warn', live.stands || live.handedOver ? words : `${words} ${this.#targetWords()}`);
  }

  async #conclude(status: ResultStatus, end: RunEnd | null, error: ErrorReport | null, reason: string): Promise<void> {
    const { facts, live, writer, ...rest } = this.#input;
    const view = error === null ? null : { code: error.code, message: error.message, hint: error.hint };
    const { totals, tablesCopied } = writer.log.totals;
    if (view !== null) {
      writer.say('error', `${view.message} ${view.hint}`.trim());
      if (status === 'failed') writer.say('warn', this.#targetWords());
    }
    await conclude({
      ...rest,
      live: live.state,
      writer,
      goal: facts.goal,
      ending: {
        status,
        error: view,
        startedAt: facts.startedAt,
        finishedAt: new Date(),
        end,
        counted: { tables: tablesCopied, rows: totals.rows, bytes: totals.bytes },
      },
      todo: facts.hookTodo,
      reason,
      patch: this.snapshotPatch,
    });
  }

  #targetWords(): string {
    const { row, facts, writer } = this.#input;
    if (row.kind === 'export') return noArchiveWords;
    return describeTarget({
      targetTouched: facts.targetTouched,
      phase: facts.phase,
      tablesCopied: writer.log.totals.tablesCopied,
      tables: writer.log.totals.totals.tables,
      schemaOnly: row.options.schemaOnly,
    });
  }
}
