import { setTimeout as sleep } from 'node:timers/promises';
import PQueue from 'p-queue';
import type { CheckResult } from '../contract/check.ts';
import type { JobEvent, StreamMessage, TableProgress } from '../contract/event.ts';
import type { JobActivity } from '../contract/activity.ts';
import type { JobAction, JobView } from '../contract/job.ts';
import type { JobRequest } from '../contract/options.ts';
import type { Report } from '../contract/report.ts';
import { cancelledError, PgsluiceError } from '../errors.ts';
import { agentSilenceSeconds } from '../store/agent-queries.ts';
import { lastProgress } from '../store/event-queries.ts';
import {
  checksOf,
  claimJob,
  deleteJob,
  findJob,
  findReport,
  insertJob,
  type JobRow,
  type JobQuery,
  listJobs,
  tablesOf,
} from '../store/job-queries.ts';
import { Store } from '../store/store.ts';
import { Access } from './access.ts';
import { ActiveRun } from './active-run.ts';
import { assertPlaces, assertWebhooksReachable } from './allowed.ts';
import { asReport } from './as-report.ts';
import { assertPasswordsKept } from './forget-passwords.ts';
import { forgetPartial } from './clean-run.ts';
import { acceptedOf } from './acceptance.ts';
import { ChecksOfJob } from './checks-of-job.ts';
import { defaultRooms } from './default-rooms.ts';
import { sweepHooks } from './hook-sweep.ts';
import { Housekeeping } from './housekeeping.ts';
import { jobActivity } from './activity.ts';
import { stayPaused } from './interrupted.ts';
import { hookMeans } from './run-environment.ts';
import { assertCommandAllowed } from './commands.ts';
import { JobCounters } from './job-counters.ts';
import { JobEvents } from './job-events.ts';
import { GroupPlaces } from './group-places.ts';
import { Groups } from './groups.ts';
import { methodOf, notInHand, openEndpoints, openSides, toView } from './job-view.ts';
import { alreadyHandedOver, isHandedOver, isStanding } from './live-hand.ts';
import { JobWriter } from './job-writer.ts';
import { LiveSweep } from './live-sweep.ts';
import { agentStopping, heldElsewhere, jobNotFound, reportNotReady, runningError } from './manager-errors.ts';
import type { LogPage } from './log-search.ts';
import type { LogQuery, ManagerConfig, ManagerMetrics } from './manager-types.ts';
import { newJobRow } from './new-job.ts';
import { withCalls } from './sealed-calls.ts';
import type { JobRooms } from './rooms.ts';
import { assertAction, isSettled } from './transitions.ts';

export type { LogQuery, ManagerConfig, ManagerMetrics } from './manager-types.ts';

const defaultHoldMs = 30 * 60_000;
const stopMs = 3_500;
const forceMs = 1_000;

/**
 * All jobs of one agent: what server and command line talk to. Lifecycle: open → stopping → stopped.
 * Only the manager that has claimed a job writes it (JobWriter); reading needs no claim.
 */
export class JobManager {
  /** Jobs that were made together, one a database. */
  readonly groups: Groups;
  readonly #config: ManagerConfig;
  readonly #rooms: JobRooms;
  readonly #store: Store;
  readonly #queue: PQueue;
  readonly #places: GroupPlaces;
  readonly #runs = new Map<string, ActiveRun>();
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #counters: JobCounters;
  readonly #events: JobEvents;
  readonly #housekeeping: Housekeeping;
  readonly #live: LiveSweep;
  /** Single checks of a job: made again, accepted. */
  readonly single: ChecksOfJob;
  readonly access: Access;
  #stopping: Promise<void> | null = null;

  private constructor(config: ManagerConfig, rooms: JobRooms, store: Store) {
    this.#config = config;
    this.#rooms = rooms;
    this.#store = store;
    const most = Math.max(1, config.concurrency);
    this.#queue = new PQueue({ concurrency: most });
    const { logger } = config;
    this.#places = new GroupPlaces({ store, logger, most, enter: async (task) => await this.#queue.add(task) });
    this.groups = new Groups({
      store,
      assertAllowed: (options) => this.#assertTaken({ options }),
      announce: (id) => this.#announce(id),
      view: (row) => this.#view(row),
      act: (id, action) => this.act(id, action),
      remove: (id) => this.remove(id),
      hold: (group, holds) => this.#places.hold(group, holds),
    });
    this.#counters = new JobCounters();
    this.#events = new JobEvents(store);
    this.access = new Access(store.db, (id) => this.#row(id));
    this.single = new ChecksOfJob({
      store,
      rooms,
      pgBinDir: config.pgBinDir,
      row: (id) => this.#row(id),
      busy: (id) => this.#runs.has(id) && this.#runs.get(id)?.stage !== 'held',
      write: (id, use) => this.#inTurn(id, () => this.#withWriter(id, use)),
    });
    const sweeping = {
      store,
      logger,
      inHand: (id: string) => this.#runs.has(id),
      inTurn: (id: string, work: () => Promise<void>) => this.#inTurn(id, work),
      claim: (id: string) => claimJob(store.db, { id, agentId: store.agentId, silenceSeconds: agentSilenceSeconds }),
      writerFor: (row: JobRow) => this.#writer(row, () => undefined),
    };
    this.#live = new LiveSweep({
      ...sweeping,
      rooms,
      endpointsOf: (row) => openEndpoints(store.secrets, row),
      goOn: (id) => this.#goOn(id),
    });
    this.#housekeeping = new Housekeeping({
      live: this.#live,
      callHooks: (signal) =>
        sweepHooks(
          {
            ...sweeping,
            hooks: hookMeans(config),
            opened: (row) => withCalls(store.secrets, row),
            sidesOf: (row) => openSides(store.secrets, row),
          },
          signal,
        ),
      store,
      logger: config.logger,
      counters: this.#counters,
      retention: config.retention ?? {},
      role: config.role,
      inHand: (id) => this.#runs.has(id) || this.#turns.has(id),
      writerFor: (row) => this.#writer(row, () => undefined),
    });
  }

  /**
   * Takes the state, migrates it, and marks what an earlier agent left half done as paused.
   * @throws PgsluiceError as Store.open does.
   */
  static async open(
    config: ManagerConfig,
    rooms: JobRooms = defaultRooms(config.allowCommands ?? false),
  ): Promise<JobManager> {
    const store = await Store.open({ state: config.state, secretKey: config.secretKey, role: config.role });
    const manager = new JobManager(config, rooms, store);
    try {
      await manager.#housekeeping.start();
    } catch (error) {
      await store.close();
      throw error;
    }
    return manager;
  }

  /** @throws PgsluiceError INVALID_URL and its kin for an endpoint that cannot be understood, COMMANDS_NOT_ALLOWED, RELATIVE_ARCHIVE, and what assertPlaces throws. */
  async create(request: JobRequest): Promise<JobView> {
    this.#assertTaken(request);
    const row = newJobRow(this.#store, request, null);
    await assertPlaces(this.#store.secrets, row, this.#config.archiveDir);
    await this.#store.underKey((db) => insertJob(db, row));
    await this.#announce(row.id);
    return request.start ? await this.act(row.id, 'start') : await this.get(row.id);
  }

  #assertTaken(request: Pick<JobRequest, 'options'>): void {
    this.#assertOpen();
    this.#assertCommand(request);
    assertWebhooksReachable(request.options);
  }

  /** Tells that a job is new. */
  async #announce(id: string): Promise<void> {
    this.#counters.created('draft');
    await this.#inTurn(id, async () => {
      const writer = this.#writer(await this.#row(id), () => undefined);
      writer.emit({ type: 'state', state: 'draft', previous: null, reason: 'Created.', error: null });
      await writer.close();
      this.#events.release(id);
    });
  }

  /** The newest first; all of them where nothing is asked for. @throws PgsluiceError JOB_NOT_FOUND for an `after` that is gone. */
  async list(query: JobQuery = {}): Promise<JobView[]> {
    if (query.after !== undefined) await this.#row(query.after);
    return await Promise.all((await listJobs(this.#store.db, query)).map((row) => this.#view(row)));
  }

  async get(id: string): Promise<JobView> {
    return await this.#view(await this.#row(id));
  }

  /**
   * Does what a person asks of a job; answers when it has begun, a cancel when both servers are left.
   * @throws PgsluiceError JOB_NOT_FOUND, INVALID_TRANSITION, NOT_A_LIVE_JOB, CUTOVER_BLOCKED, CUTOVER_NOT_BEGUN, ALREADY_HANDED_OVER,
   * COMMANDS_NOT_ALLOWED, PASSWORDS_FORGOTTEN, JOB_HELD_ELSEWHERE, AGENT_STOPPING.
   */
  async act(id: string, action: JobAction): Promise<JobView> {
    this.#assertOpen();
    await this.#inTurn(id, async () => {
      const row = await this.#row(id);
      assertAction(row.state, action, methodOf(row));
      // A run from the beginning would empty a target that is in use.
      if (action !== 'cancel' && row.state !== 'paused' && isHandedOver(row.live)) throw alreadyHandedOver();
      if (action !== 'cancel' && action !== 'pause') {
        this.#assertCommand(row);
        await assertPlaces(this.#store.secrets, row, this.#config.archiveDir);
      }
      if (action !== 'cancel') assertPasswordsKept(row);
      const run = this.#runs.get(id) ?? null;
      switch (action) {
        case 'validate':
          return await this.#start(id, run, 'validate');
        case 'start':
          return await this.#start(id, run, 'migrate');
        case 'retry':
          return await this.#start(id, run, row.startedAt === null ? 'validate' : 'migrate');
        case 'resume':
          if (run?.stage === 'active') return await run.resume();
          return await this.#start(id, run, row.startedAt === null ? 'validate' : 'migrate');
        case 'pause':
          if (run === null) throw await heldElsewhere(this.#store.db, row);
          return await run.pause();
        case 'cancel':
          return await (run ?? (await this.#open(id))).cancel();
        case 'cutover':
          if (run === null) throw await heldElsewhere(this.#store.db, row);
          return await run.cutover();
      }
    });
    return await this.get(id);
  }

  /**
   * Forgets a job; what a live one has made is taken off both servers before, a paused one is cancelled.
   * @throws PgsluiceError JOB_RUNNING while an agent works on the job; JOB_LEFT_TRACES, and the job is kept; ALREADY_HANDED_OVER for
   * a paused job whose target has taken over; what act throws of a cancel.
   */
  async remove(id: string): Promise<void> {
    this.#assertOpen();
    await this.#inTurn(id, async () => {
      const run = this.#runs.get(id);
      if (run !== undefined && run.stage !== 'held') throw runningError();
      await run?.release('The job is removed; its snapshot is given up.');
      await this.#row(id);
      let row = await this.#claim(id);
      if (!isSettled(row.state)) throw runningError();
      const cancels = row.state === 'paused' && isStanding(row.live);
      if (cancels) {
        await (await this.#open(id)).cancel();
        row = await this.#claim(id);
      }
      await this.#live.cleanForRemoval(row, run !== undefined || cancels);
      await forgetPartial(row, (message) => this.#config.logger.warn({ job: id }, message));
      await deleteJob(this.#store.db, id);
      this.#counters.removed(row.state);
      this.#events.remove(id);
    });
  }

  async tables(id: string): Promise<TableProgress[]> {
    await this.#row(id);
    return await tablesOf(this.#store.db, id);
  }

  /** What the job's sessions run now on both servers; asked anew every time. */
  async activity(id: string): Promise<JobActivity> {
    return await jobActivity(id, openSides(this.#store.secrets, await this.#row(id)), this.#runs.get(id)?.rate ?? null);
  }

  async checks(id: string): Promise<CheckResult[]> {
    await this.#row(id);
    return await checksOf(this.#store.db, id);
  }

  /** @throws PgsluiceError REPORT_NOT_READY before a run has ended. */
  async report(id: string): Promise<Report> {
    await this.#row(id);
    const report = await findReport(this.#store.db, id);
    if (report !== null) return { ...report, accepted: acceptedOf(await checksOf(this.#store.db, id)) };
    throw reportNotReady();
  }

  /** The report as one printable HTML page. */
  async reportHtml(id: string): Promise<string> {
    return this.#rooms.reportHtml(await this.report(id));
  }

  /** See JobEvents.logs. */
  logs(id: string, query: LogQuery): Promise<JobEvent[]> {
    return this.#events.logs(id, query);
  }

  /** See JobEvents.logPage. */
  logPage(id: string, query: LogQuery): Promise<LogPage> {
    return this.#events.logPage(id, query);
  }

  /** See JobEvents.stream. */
  stream(id: string, after: number, signal: AbortSignal): AsyncGenerator<readonly StreamMessage[]> {
    return this.#events.stream(id, after, signal);
  }

  /** Resolves when nothing more happens to the job unless a person acts: it is ready, blocked, paused or at its end. */
  async waitUntilSettled(id: string): Promise<JobView> {
    const never = new AbortController().signal;
    for (;;) {
      const feed = this.#events.feed(id);
      const { version } = feed;
      const run = this.#runs.get(id);
      const view = await this.get(id);
      const resting = run === undefined || run.stage === 'held' || (run.stage === 'active' && run.paused);
      if (resting && run === this.#runs.get(id) && isSettled(view.state)) return view;
      await feed.waitBeyond(version, never, 200);
    }
  }

  metrics(): ManagerMetrics {
    const stages = [...this.#runs.values()].map((run) => run.stage);
    const pending = [...this.#runs.values()].reduce((sum, run) => sum + run.writer.log.pending, 0);
    return {
      store: this.#store.kind,
      running: stages.filter((stage) => stage === 'active').length,
      queued: stages.filter((stage) => stage === 'queued').length,
      eventsPending: pending,
      ...this.#counters.snapshot(),
    };
  }

  /** True while the store answers and the agent is not stopping. */
  async ready(): Promise<boolean> {
    return this.#stopping === null && (await this.#store.ready());
  }

  /** Ends everything within 5 s: running jobs are left resumable, and each one's log says so. May be called again. */
  stop(reason: string): Promise<void> {
    this.#stopping ??= this.#stop(reason);
    return this.#stopping;
  }

  async #stop(reason: string): Promise<void> {
    this.single.stop(cancelledError(`The agent was stopped (${reason}).`));
    await Promise.race([this.#housekeeping.stop(), sleep(forceMs, undefined, { ref: false })]);
    const stops = [...this.#runs.values()].map((run) => run.stop(reason));
    await Promise.race([Promise.allSettled(stops), sleep(stopMs, undefined, { ref: false })]);
    const stragglers = [...this.#runs.values()];
    for (const run of stragglers) this.#config.logger.warn({ job: run.id }, 'a job did not end in time');
    await Promise.race([
      Promise.allSettled(stragglers.map((run) => run.force(reason))),
      sleep(forceMs, undefined, { ref: false }),
    ]);
    await this.#events.close();
    await this.#store.close();
  }

  /** Begins an attempt: the one in hand goes on when it still holds what is needed, else a new one is made. */
  async #start(id: string, current: ActiveRun | null, goal: 'validate' | 'migrate'): Promise<void> {
    let run = current;
    if (run !== null && run.stage === 'held' && !run.canRetry) {
      await run.release('The snapshot of the copy is gone; everything is copied anew.');
      run = null;
    }
    if (run !== null && run.stage !== 'held') throw runningError();
    run ??= await this.#open(id);
    run.queue(goal, (task) => this.#places.enter(id, task));
    // Nobody waits in the queue: this run has begun.
    if (this.#queue.size === 0) await this.#places.begun(id, run.begun);
  }

  /** Resumes a live job that was interrupted, unless somebody has done something with it meanwhile. */
  async #goOn(id: string): Promise<void> {
    if (this.#stopping !== null) return;
    await this.#inTurn(id, async () => {
      const row = await this.#row(id);
      if (row.state !== 'paused' || !row.goesOn || row.held || this.#runs.has(id)) return;
      try {
        this.#assertCommand(row);
      } catch (error) {
        return await stayPaused(
          this.#writer(await this.#claim(id), () => undefined),
          asReport(error),
        );
      }
      await this.#start(id, null, row.startedAt === null ? 'validate' : 'migrate');
    });
  }

  /** Past the hand-over a job goes on in any case: then the hand-over says what a person has to run. */
  #assertCommand({ options, live }: Pick<JobRow, 'options'> & Partial<Pick<JobRow, 'live'>>): void {
    if (!isHandedOver(live ?? null)) assertCommandAllowed(options, this.#config.allowCommands ?? false);
  }

  /** Takes an idle job in hand. */
  async #open(id: string): Promise<ActiveRun> {
    const row = withCalls(this.#store.secrets, await this.#claim(id));
    const sides = openSides(this.#store.secrets, row);
    const writer = this.#writer(row, (error) => run.abandon(error));
    const environment = {
      store: this.#store,
      rooms: this.#places.rooms(row, this.#rooms),
      pgBinDir: this.#config.pgBinDir,
      logger: this.#config.logger,
      holdSnapshotMs: this.#config.holdSnapshotMs ?? defaultHoldMs,
      hooks: hookMeans(this.#config),
    };
    const run: ActiveRun = new ActiveRun(environment, { row, sides, writer }, () => {
      this.#runs.delete(id);
      this.#places.leave(id);
      this.#events.release(id);
    });
    this.#runs.set(id, run);
    this.#places.join({ row, sides, stage: () => run.stage });
    return run;
  }

  async #claim(id: string): Promise<JobRow> {
    const { agentId, db } = this.#store;
    const row = await claimJob(db, { id, agentId, silenceSeconds: agentSilenceSeconds });
    if (row !== null) return row;
    throw await heldElsewhere(this.#store.db, await this.#row(id));
  }

  #writer(row: JobRow, onBroken: (error: PgsluiceError) => void): JobWriter {
    return new JobWriter({
      store: this.#store,
      row,
      feed: this.#events.feed(row.id),
      observer: this.#counters,
      onBroken,
    });
  }

  /** The writer of the run in hand, else one for this moment. */
  async #withWriter<T>(id: string, use: (writer: JobWriter) => Promise<T>): Promise<T> {
    this.#assertOpen();
    const run = this.#runs.get(id);
    if (run !== undefined) return await use(run.writer);
    const writer = this.#writer(await this.#claim(id), () => undefined);
    try {
      return await use(writer);
    } finally {
      await writer.close();
      this.#events.release(id);
    }
  }

  /** Actions on one job happen one after the other. */
  async #inTurn<T>(id: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(id) ?? Promise.resolve();
    const turn = before.then(work, work);
    this.#turns.set(id, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(id) === turn) this.#turns.delete(id);
    }
  }

  async #row(id: string): Promise<JobRow> {
    // The store could not even be asked for an id with a zero byte.
    const row = id.includes('\0') ? null : await findJob(this.#store.db, id);
    if (row !== null) return row;
    throw jobNotFound(id);
  }

  async #view(row: JobRow): Promise<JobView> {
    const sides = openSides(this.#store.secrets, row);
    const run = this.#runs.get(row.id);
    if (run !== undefined) return toView(row, sides, run.live());
    // What another agent, or an earlier one, last measured stands in the job's events.
    const progress = row.live === null ? null : await lastProgress(this.#store.db, row.id);
    return toView(row, sides, { ...notInHand, progress });
  }

  #assertOpen(): void {
    if (this.#stopping !== null) throw agentStopping();
  }
}
