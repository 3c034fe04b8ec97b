import type { CheckResult } from '../contract/check.ts';
import { PgsluiceError } from '../errors.ts';
import { acceptancesOf, removeAcceptance, saveAcceptance } from '../store/acceptance-queries.ts';
import { checksOf, type JobRow, standingNames } from '../store/job-queries.ts';
import { withAcceptance } from './acceptance.ts';
import type { Store } from '../store/store.ts';
import { assertPasswordsKept } from './forget-passwords.ts';
import { openEndpoints } from './job-view.ts';
import type { JobWriter } from './job-writer.ts';
import type { JobRooms } from './rooms.ts';

/** One check of a job; `side` is needed only where a check were made on several. */
export interface CheckAddress {
  readonly check: string;
  readonly side?: CheckResult['side'] | undefined;
}

export interface AcceptanceInput {
  /** Who accepts, as it is shown to everybody. */
  readonly by: string;
  /** Why; may be empty. */
  readonly note: string;
}

export interface ChecksOfJobInput {
  readonly store: Store;
  readonly rooms: Pick<JobRooms, 'validate' | 'live'>;
  readonly pgBinDir: string | null;
  /** @throws PgsluiceError JOB_NOT_FOUND */
  readonly row: (id: string) => Promise<JobRow>;
  /** An agent works on the job, or is about to. */
  readonly busy: (id: string) => boolean;
  /** Gives the one writer of the job; @throws PgsluiceError JOB_HELD_ELSEWHERE */
  readonly write: <T>(id: string, use: (writer: JobWriter) => Promise<T>) => Promise<T>;
}

/** A check asks a few questions, each bounded on the server; what takes longer than this has lost its server. */
const RUN_MS = 120_000;

/** What people do with single results of a validation: make one again, accept a warning, take that back. */
export class ChecksOfJob {
  readonly #input: ChecksOfJobInput;
  readonly #running = new Set<AbortController>();

  constructor(input: ChecksOfJobInput) {
    this.#input = input;
  }

  /**
   * Makes one check anew and stores what it finds. The job's state stays: a blocked one is validated as a whole before it starts.
   * @throws PgsluiceError JOB_NOT_FOUND, JOB_RUNNING, CHECK_NOT_FOUND, JOB_HELD_ELSEWHERE, CHECK_TIMEOUT.
   */
  async run(id: string, address: CheckAddress): Promise<CheckResult> {
    const row = await this.#input.row(id);
    this.#assertIdle(id);
    const made = await this.#bounded((signal) => this.#validate(row, address.check, signal));
    const check = choose(made, address);
    return await this.#input.write(id, async (writer) => {
      // It may have been started meanwhile; its own validation then says what counts.
      this.#assertIdle(id);
      const told = withAcceptance(check, await acceptancesOf(this.#input.store.db, id));
      await tell(writer, told, `Check ${check.id} was made again: ${check.outcome}.`);
      return told;
    });
  }

  /**
   * A person lets a warning stand; it stays visible, with who and when.
   * @throws PgsluiceError JOB_NOT_FOUND, CHECK_NOT_FOUND, CHECK_NOT_A_WARNING, JOB_HELD_ELSEWHERE.
   */
  async accept(id: string, address: CheckAddress, { by, note }: AcceptanceInput): Promise<CheckResult> {
    return await this.#change(id, address, async (writer, check) => {
      if (check.outcome !== 'warned') throw notAWarning(check);
      const row = await saveAcceptance(this.#input.store.db, {
        jobId: id,
        checkId: check.id,
        side: check.side,
        found: check.found,
        acceptedBy: by,
        note,
      });
      const told = withAcceptance(check, row === null ? [] : [row]);
      await tell(writer, told, `${by} accepted the warning of ${check.id}${note === '' ? '.' : `: ${note}`}`);
      return told;
    });
  }

  /** Takes an acceptance back; nothing happens where there is none. @throws PgsluiceError as accept does, but CHECK_NOT_A_WARNING. */
  async unaccept(id: string, address: CheckAddress): Promise<CheckResult> {
    return await this.#change(id, address, async (writer, check) => {
      await removeAcceptance(this.#input.store.db, { jobId: id, checkId: check.id, side: check.side });
      if ((check.accepted ?? null) === null) return check;
      const told: CheckResult = { ...check, accepted: null };
      await tell(writer, told, `The warning of ${check.id} is not accepted any more.`);
      return told;
    });
  }

  /** Ends what runs, because the agent stops. */
  stop(reason: PgsluiceError): void {
    for (const controller of this.#running) controller.abort(reason);
  }

  async #validate(row: JobRow, check: string, signal: AbortSignal): Promise<readonly CheckResult[]> {
    const { store, rooms, pgBinDir } = this.#input;
    if (row.kind !== 'move') throw notAlone(row);
    assertPasswordsKept(row);
    const { slot, publication } = rooms.live.names(row.id);
    const outcome = await rooms.validate({
      ...openEndpoints(store.secrets, row),
      options: row.options,
      pgBinDir,
      signal,
      ownTarget: row.targetTouched,
      job: row.id,
      ownNames: [...new Set([slot, publication, ...(await standingNames(store.db))])],
      only: [check],
      onCheck: () => undefined,
    });
    return outcome.checks;
  }

  async #change(
    id: string,
    address: CheckAddress,
    change: (writer: JobWriter, check: CheckResult) => Promise<CheckResult>,
  ): Promise<CheckResult> {
    await this.#input.row(id);
    return await this.#input.write(id, async (writer) => {
      await writer.log.drain();
      return await change(writer, choose(await checksOf(this.#input.store.db, id), address));
    });
  }

  async #bounded<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(timedOut()), RUN_MS);
    this.#running.add(controller);
    try {
      return await work(controller.signal);
    } finally {
      clearTimeout(timer);
      this.#running.delete(controller);
    }
  }

  #assertIdle(id: string): void {
    if (!this.#input.busy(id)) return;
    throw new PgsluiceError({
      code: 'JOB_RUNNING',
      message: 'The job is running, so its checks are not made again.',
      hint: 'Wait for its end, or cancel it first.',
    });
  }
}

async function tell(writer: JobWriter, check: CheckResult, words: string): Promise<void> {
  writer.emit({ type: 'check', check });
  writer.say('info', words);
  await writer.log.drain();
}

function choose(checks: readonly CheckResult[], { check, side }: CheckAddress): CheckResult {
  const found = checks.find((one) => one.id === check && (side === undefined || one.side === side));
  if (found !== undefined) return found;
  throw new PgsluiceError({
    code: 'CHECK_NOT_FOUND',
    message: `This job has no check ${check}${side === undefined ? '' : ` of the side ${side}`}.`,
    hint: 'Validate the job, then list its checks with: pgsluice checks',
  });
}

function notAWarning(check: CheckResult): PgsluiceError {
  return new PgsluiceError({
    code: 'CHECK_NOT_A_WARNING',
    message: `The check ${check.id} has ${check.outcome === 'failed' ? 'failed' : 'nothing to accept'}; only warnings can be accepted.`,
    hint:
      check.outcome === 'failed' ? check.remedy || 'Do what the check says, then run it again.' : 'Nothing is to do.',
  });
}

function notAlone({ kind }: Pick<JobRow, 'kind'>): PgsluiceError {
  return new PgsluiceError({
    code: 'CHECK_NOT_ALONE',
    message: `The checks of an ${kind} are made together.`,
    hint: 'Validate the job again.',
  });
}

function timedOut(): PgsluiceError {
  return new PgsluiceError({
    code: 'CHECK_TIMEOUT',
    message: `The check was not over after ${RUN_MS / 1000} s.`,
    hint: 'See what the servers are busy with, then run it again.',
    retryable: true,
  });
}
