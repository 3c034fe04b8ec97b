import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import type { JobEvent, JobEventBody, JobState, StreamMessage, TableProgress } from '../../src/contract/event.ts';
import type { JobAction, JobView } from '../../src/contract/job.ts';
import type { CutoverReport, CutoverStep, Guardrail, LiveProgress } from '../../src/contract/live.ts';
import { JobOptions } from '../../src/contract/options.ts';
import type { Report } from '../../src/contract/report.ts';
import { PgsluiceError } from '../../src/errors.ts';
import type { ApiManager } from '../../src/server/api-manager.ts';
import { startServer, type RunningServer } from '../../src/server/server.ts';
import { noAccess } from './no-access.ts';

export const liveToken = 'token-of-the-live-test';

const noCounts = { inserts: 0, updates: 0, deletes: 0, truncates: 0, transactions: 0 };

export const calm: readonly Guardrail[] = [
  { id: 'lag', state: 'ok', found: 'The target is 12 kB and 0.1 s behind.', remedy: '' },
  { id: 'long-writes', state: 'ok', found: 'No transaction has been writing for more than 10 s.', remedy: '' },
  { id: 'prepared-transactions', state: 'ok', found: 'None is open.', remedy: '' },
  { id: 'schema-drift', state: 'ok', found: 'Both sides have the same 47 tables and 312 columns.', remedy: '' },
  { id: 'target-written', state: 'ok', found: 'No other session has written to the target.', remedy: '' },
  { id: 'fence', state: 'ok', found: 'All 47 tables can be locked.', remedy: '' },
  { id: 'slot', state: 'ok', found: 'The slot is active and reserved.', remedy: '' },
];

export function guardrails(...changed: readonly Guardrail[]): Guardrail[] {
  return calm.map((guardrail) => changed.find(({ id }) => id === guardrail.id) ?? guardrail);
}

export function liveProgress(changes: Partial<LiveProgress> = {}): LiveProgress {
  return {
    lagBytes: 12_288,
    lagSeconds: 0.1,
    sourceLsn: '2A/7F003A28',
    appliedLsn: '2A/7F000A28',
    applied: { ...noCounts, inserts: 182_400, updates: 91_233, deletes: 4021, transactions: 61_877 },
    perSecond: { ...noCounts, inserts: 1840, updates: 912, deletes: 41, transactions: 620 },
    spooledBytes: 0,
    slot: {
      walStatus: 'reserved',
      safeWalBytes: 42 * 1024 ** 3,
      retainedBytes: 118 * 1024 ** 2,
      walBytesPerSecond: 3.4 * 1024 ** 2,
      lastsSeconds: 19_700,
      active: true,
    },
    guardrails: [...calm],
    cutover: [],
    connected: true,
    ...changes,
  };
}

/** A whole cutover, each step with its detail and ms; 840 ms from the fence to the hand-over. */
export const plannedSteps: readonly {
  readonly step: CutoverStep['step'];
  readonly ms: number;
  readonly detail: string;
}[] = [
  { step: 'prepare', ms: 412, detail: '47 tables are followed' },
  { step: 'guardrails', ms: 31, detail: 'all 7 conditions are OK' },
  { step: 'fence', ms: 18, detail: '47 tables locked, 3 sessions wait' },
  { step: 'drain', ms: 264, detail: 'to 2A/7F018C40' },
  { step: 'sequences', ms: 22, detail: '19 sequences' },
  { step: 'snapshots', ms: 14, detail: '' },
  { step: 'constraints', ms: 311, detail: '38 foreign keys, 6 triggers' },
  { step: 'counts', ms: 96, detail: '47 tables, equal' },
  { step: 'refuse-writes', ms: 43, detail: '3 sessions ended' },
  { step: 'hand-over', ms: 72, detail: 'webhook answered 204' },
  { step: 'drop-slot', ms: 58, detail: '' },
];

/** The first `done` steps with their ms; one more is under way. */
export function cutoverSteps(done: number, from: number): CutoverStep[] {
  let at = from;
  return plannedSteps.slice(0, done + 1).map(({ step, ms, detail }, index): CutoverStep => {
    const startedAt = new Date(at).toISOString();
    at += ms;
    return { step, startedAt, ms: index < done ? ms : null, detail: index < done ? detail : '' };
  });
}

/**
 * One live job of an agent whose every event the test decides: real server, real page, no database. `acts` holds what
 * the page asked for.
 */
export class ScriptedLiveJob {
  readonly acts: JobAction[] = [];
  /** Answers what the page asks for; a thrown PgsluiceError is the agent's refusal. */
  onAct: (action: JobAction) => Promise<void> | void = () => undefined;
  report: Report | null = null;
  readonly #events: JobEvent[] = [];
  readonly #wakers = new Set<() => void>();
  #view: JobView;
  #clock: number;

  constructor(changes: Partial<JobView> & { readonly options?: JobOptions } = {}) {
    this.#clock = Date.now() - 600_000;
    const at = new Date(this.#clock).toISOString();
    const endpoint = (host: string) => ({
      host,
      port: 5432,
      user: 'app',
      database: 'shop',
      sslmode: 'require' as const,
      hasPassword: true,
    });
    this.#view = {
      id: 'live7job2a',
      name: 'Shop to the new server',
      kind: 'move',
      archive: null,
      group: null,
      state: 'following',
      phase: 'follow',
      source: endpoint('db.old.example.com'),
      target: endpoint('db.new.example.com'),
      options: JobOptions.parse({ method: 'live', cutover: 'manual' }),
      summary: 'Following the source: what is written there arrives on the target. The source stays fully usable.',
      totals: { tables: 47, tablesDone: 47, tablesFailed: 0, rows: 4_812_009, bytes: 1_391_002_118, fraction: 1 },
      verified: false,
      differences: 0,
      error: null,
      snapshotAlive: false,
      method: 'live',
      live: null,
      lastSeq: 0,
      createdAt: at,
      startedAt: at,
      finishedAt: null,
      updatedAt: at,
      ...changes,
    };
    this.emit({ type: 'state', state: 'running', previous: 'ready', reason: '', error: null });
    for (const phase of ['slot', 'schema', 'copy', 'indexes'] as const) {
      this.emit({ type: 'phase', phase, status: 'started', seconds: null, detail: '' });
      this.emit({ type: 'phase', phase, status: 'finished', seconds: 4.2, detail: '' });
    }
    this.emit({ type: 'phase', phase: 'follow', status: 'started', seconds: null, detail: '' });
    this.emit({
      type: 'log',
      level: 'info',
      message: 'All 47 tables are copied and indexed; following from 2A/7E000028.',
    });
    this.emit({ type: 'state', state: this.#view.state, previous: 'running', reason: '', error: this.#view.error });
  }

  get id(): string {
    return this.#view.id;
  }

  /** Events carry times of their own, so that minutes of them can be told in a moment; ms. */
  forward(ms: number): void {
    this.#clock = Math.min(Date.now(), this.#clock + ms);
  }

  emit(body: JobEventBody): void {
    const at = new Date(this.#clock).toISOString();
    this.#events.push({ ...body, seq: this.#events.length + 1, at });
    this.#view = { ...this.#view, lastSeq: this.#events.length, updatedAt: at };
    for (const wake of this.#wakers) wake();
  }

  measure(changes: Partial<LiveProgress> = {}): void {
    const live = liveProgress(changes);
    this.#view = { ...this.#view, live };
    const { tables, tablesDone, rows, bytes } = this.#view.totals;
    this.emit({
      type: 'metric',
      tables,
      tablesDone,
      rows,
      bytes,
      fraction: this.#view.totals.fraction,
      bytesPerSecond: 0,
      rowsPerSecond: 0,
      remaining: null,
      waiting: null,
      live,
    });
  }

  move(state: JobState, changes: Partial<JobView> = {}): void {
    const previous = this.#view.state;
    this.#view = { ...this.#view, error: null, ...changes, state };
    this.emit({ type: 'state', state, previous, reason: '', error: this.#view.error });
  }

  /** Ten minutes of a source with a busy moment in the middle, one measurement a second. */
  history(seconds = 540): void {
    for (let second = 0; second < seconds; second += 1) {
      this.forward(1000);
      const wave = 1 + Math.sin(second / 17) / 3 + Math.sin(second / 5) / 9;
      const burst = second > seconds * 0.55 && second < seconds * 0.68 ? (second - seconds * 0.55) * 2.1 : 0;
      this.measure({
        lagBytes: Math.round(24_000 * wave + burst * 3e5),
        lagSeconds: Math.round((0.1 * wave + burst / 6) * 10) / 10,
        perSecond: {
          ...noCounts,
          inserts: Math.round(1800 * wave + burst * 40),
          updates: Math.round(900 * wave),
          deletes: Math.round(40 * wave * wave),
          transactions: Math.round(600 * wave),
        },
      });
    }
    this.forward(600_000);
    this.measure();
  }

  complete(downtimeMs: number, steps: readonly CutoverStep[]): void {
    const finishedAt = new Date(this.#clock).toISOString();
    const cutover: CutoverReport = { steps: [...steps], downtimeMs, fencedBy: 'lock', lsn: '2A/7F018C40', attempts: 1 };
    this.report = { ...emptyReport(this.#view), finishedAt, cutover };
    this.#view = {
      ...this.#view,
      verified: true,
      finishedAt,
      summary: 'Done and verified: the target equals the source.',
    };
    this.emit({
      type: 'result',
      status: 'completed',
      verified: true,
      tables: 47,
      rows: 4_812_009,
      bytes: 1_391_002_118,
      seconds: 611,
      differences: [],
      error: null,
    });
    this.move('completed');
  }

  async serve(): Promise<RunningServer> {
    return await startServer({
      manager: this.#manager(),
      token: liveToken,
      webDir: fileURLToPath(new URL('../../dist/web/', import.meta.url)),
      version: '0.0.0',
      logger: pino({ level: 'silent' }),
      host: '127.0.0.1',
      port: 0,
    });
  }

  #manager(): ApiManager {
    const unused = (): never => {
      throw new Error('not part of this test');
    };
    return {
      access: noAccess,
      create: unused,
      list: () => Promise.resolve([this.#view]),
      get: () => Promise.resolve(this.#view),
      act: async (_id, action) => {
        this.acts.push(action);
        await this.onAct(action);
        return this.#view;
      },
      remove: unused,
      tables: () => Promise.resolve(tables),
      activity: unused,
      checks: () => Promise.resolve([]),
      groups: { create: unused, list: unused, get: unused, act: unused, remove: unused },
      single: { run: unused, accept: unused, unaccept: unused },
      report: () => (this.report === null ? Promise.reject(notReady) : Promise.resolve(this.report)),
      reportHtml: unused,
      logPage: () => Promise.resolve({ events: this.#events.filter((event) => event.type === 'log'), next: null }),
      metrics: unused,
      ready: () => Promise.resolve(true),
      stream: (_id, after, signal) => this.#stream(after, signal),
    };
  }

  async *#stream(after: number, signal: AbortSignal): AsyncGenerator<StreamMessage[]> {
    let seq = after;
    while (!signal.aborted) {
      const batch = this.#events.slice(seq, seq + 500);
      seq += batch.length;
      if (batch.length > 0) yield batch;
      else await this.#news(signal);
    }
  }

  async #news(signal: AbortSignal): Promise<void> {
    const timer = new AbortController();
    let wake: () => void = () => undefined;
    const woken = new Promise<void>((resolve) => (wake = resolve));
    this.#wakers.add(wake);
    // A late look costs nothing and makes the order of event and waker not matter.
    await Promise.race([
      woken,
      delay(200, undefined, { signal: AbortSignal.any([signal, timer.signal]) }).catch(() => undefined),
    ]);
    timer.abort();
    this.#wakers.delete(wake);
  }
}

const notReady = new PgsluiceError({ code: 'REPORT_NOT_READY', message: 'There is no report yet.', hint: 'Wait.' });

const tables: TableProgress[] = ['review', 'customer', 'payment', 'visit', 'stock', 'shipment', 'order_item'].map(
  (name, index) => ({
    schema: 'shop',
    name,
    state: 'copied',
    rows: 60_000 * (index + 1),
    bytes: 5_100_000 * (index + 2),
    sizeBytes: 5_100_000 * (index + 2),
    estimatedRows: 60_000 * (index + 1),
    format: 'binary',
    rate: 0,
    seconds: 3,
    attempts: 1,
    error: null,
  }),
);

function emptyReport(view: JobView): Report {
  return {
    jobId: view.id,
    name: view.name,
    state: 'completed',
    method: 'live',
    source: { label: 'db.old.example.com', version: '15.19' },
    target: { label: 'db.new.example.com', version: '17.5' },
    createdAt: view.createdAt,
    startedAt: view.startedAt,
    finishedAt: view.finishedAt,
    seconds: 611,
    moved: { tables: 47, rows: 4_812_009, bytes: 1_391_002_118, indexes: 61, sequences: 19, largeObjects: 0 },
    phases: [],
    restoreProblems: [],
    verification: null,
    cutover: null,
    todo: [
      'The source refuses writes of new sessions: ALTER DATABASE shop RESET default_transaction_read_only undoes it.',
    ],
    error: null,
  };
}
