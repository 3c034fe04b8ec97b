import type { CheckResult } from '../../src/contract/check.ts';
import type { JobEvent, JobState, Phase, TableProgress } from '../../src/contract/event.ts';
import type { LiveProgress } from '../../src/contract/live.ts';
import type { JobView } from '../../src/contract/job.ts';

type EventOf<T extends JobEvent['type']> = Extract<JobEvent, { type: T }>;
export type MetricEvent = EventOf<'metric'>;
export type ResultEvent = EventOf<'result'>;
export type IndexEvent = EventOf<'index'>;

export interface PhaseProgress {
  readonly status: 'started' | 'finished';
  readonly startedAt: string;
  readonly seconds: number | null;
  readonly detail: string;
}

/** A point of the throughput chart: seconds since the epoch, bytes a second. */
export interface Sample {
  readonly at: number;
  readonly rate: number;
}

/** A point of the charts of a job that follows its source; `at` in seconds since the epoch, rates in rows a second. */
export interface LiveSample {
  readonly at: number;
  readonly lagBytes: number;
  readonly lagSeconds: number;
  readonly inserts: number;
  readonly updates: number;
  readonly deletes: number;
}

/** Everything the page knows of one job but its log lines. */
export interface JobModel {
  readonly job: JobView | null;
  /** What the agent answered at load time already covers events up to this seq: older ones only fill the history. */
  readonly baseSeq: number;
  readonly tables: ReadonlyMap<string, TableProgress>;
  readonly checks: ReadonlyMap<string, CheckResult>;
  readonly phases: ReadonlyMap<Phase, PhaseProgress>;
  readonly indexes: ReadonlyMap<string, IndexEvent>;
  readonly metric: MetricEvent | null;
  /** Share done 0..1; never falls within a run. */
  readonly fraction: number;
  readonly samples: readonly Sample[];
  /** Of the last minutes. */
  readonly liveSamples: readonly LiveSample[];
  readonly result: ResultEvent | null;
}

export const emptyModel: JobModel = {
  job: null,
  baseSeq: 0,
  tables: new Map(),
  checks: new Map(),
  phases: new Map(),
  indexes: new Map(),
  metric: null,
  fraction: 0,
  samples: [],
  liveSamples: [],
  result: null,
};

/** Unambiguous key of a table: no schema or table name holds a NUL. */
export function tableKey(table: { readonly schema: string; readonly name: string }): string {
  return `${table.schema}\0${table.name}`;
}

/** A check is made on one side at a time. */
export function checkKey(check: { readonly id: string; readonly side: string }): string {
  return `${check.id}\0${check.side}`;
}

/** What the agent has just answered about one check. */
export function withCheck(model: JobModel, check: CheckResult): JobModel {
  return { ...model, checks: new Map(model.checks).set(checkKey(check), check) };
}

/** The model from what the agent answers when the page opens a job. */
export function modelFrom(job: JobView, tables: readonly TableProgress[], checks: readonly CheckResult[]): JobModel {
  return {
    ...emptyModel,
    job,
    baseSeq: job.lastSeq,
    tables: new Map(tables.map((table) => [tableKey(table), table])),
    checks: new Map(checks.map((check) => [checkKey(check), check])),
    fraction: job.totals.fraction,
  };
}

/** A newer answer of the agent for the same job; figures that the stream has already carried further stay. */
export function withJob(model: JobModel, job: JobView): JobModel {
  return { ...model, job, fraction: Math.max(model.fraction, job.totals.fraction) };
}

const maxSamples = 1200;

/** How much of the following the charts show, in seconds. */
const liveWindow = 600;

function recent(samples: readonly LiveSample[]): readonly LiveSample[] {
  const from = (samples.at(-1)?.at ?? 0) - liveWindow;
  const first = samples.findIndex((sample) => sample.at >= from);
  return first <= 0 ? samples : samples.slice(first);
}

function toLiveSample(at: string, { lagBytes, lagSeconds, perSecond }: LiveProgress): LiveSample {
  const { inserts, updates, deletes } = perSecond;
  return { at: Date.parse(at) / 1000, lagBytes, lagSeconds, inserts, updates, deletes };
}

/** What a live job last measured: by the stream, else by the agent's answer. */
export function liveOf(model: JobModel): LiveProgress | null {
  return model.metric?.live ?? model.job?.live ?? null;
}

/** The target has taken over, whatever happens to the job afterwards. */
export function handedOver(live: LiveProgress | null): boolean {
  return live?.cutover.some((step) => step.step === 'hand-over') === true;
}

/** Halves the resolution when the chart is full, so that any length of job fits in bounded memory. */
export function thinSamples(samples: readonly Sample[]): readonly Sample[] {
  if (samples.length <= maxSamples) return samples;
  const thinned: Sample[] = [];
  for (let i = 0; i < samples.length; i += 2) {
    const a = samples[i];
    const b = samples[i + 1];
    if (a && b) thinned.push({ at: b.at, rate: (a.rate + b.rate) / 2 });
    else if (a) thinned.push(a);
  }
  return thinned;
}

/** Applies events in seq order to the model. Pure: the given model stays as it is. */
export function reduceEvents(model: JobModel, events: readonly JobEvent[]): JobModel {
  const next: Draft = { ...model, tables: model.tables, checks: model.checks, samples: model.samples };
  const copied = new Set<string>();
  const own = <K, V>(name: 'tables' | 'checks' | 'phases' | 'indexes', map: ReadonlyMap<K, V>): Map<K, V> => {
    const mine = copied.has(name) ? (map as Map<K, V>) : new Map(map);
    copied.add(name);
    return mine;
  };
  const fresh: Sample[] = [];
  const freshLive: LiveSample[] = [];
  for (const event of events) {
    const history = event.seq <= model.baseSeq;
    switch (event.type) {
      case 'state':
        applyState(next, event, history, copied);
        break;
      case 'phase': {
        const phases = own('phases', next.phases);
        applyPhase(phases, event);
        next.phases = phases;
        if (!history && next.job) next.job = { ...next.job, phase: event.phase };
        break;
      }
      case 'check':
        if (history) break;
        next.checks = own('checks', next.checks).set(checkKey(event.check), event.check);
        break;
      case 'table':
        if (history) break;
        next.tables = own('tables', next.tables).set(tableKey(event.table), event.table);
        break;
      case 'index':
        next.indexes = own('indexes', next.indexes).set(
          `${event.kind}\0${event.schema}\0${event.table}\0${event.name}`,
          event,
        );
        break;
      case 'metric':
        if (event.live !== undefined) freshLive.push(toLiveSample(event.at, event.live));
        // The chart is about what is copied: a comparison reads both sides and moves nothing, and following has its own.
        if (event.comparing === undefined && (event.live === undefined || event.fraction < 1)) {
          fresh.push({ at: Date.parse(event.at) / 1000, rate: event.bytesPerSecond });
        }
        next.metric = event;
        if (!history) next.fraction = Math.max(next.fraction, event.fraction);
        break;
      case 'result':
        next.result = event;
        // What the job's own answer will say too, and until then nothing else may be claimed.
        if (!history && next.job) {
          const { verified, differences } = event;
          next.job = { ...next.job, verified, differences: Math.max(next.job.differences, differences.length) };
        }
        break;
      case 'log':
        break;
    }
  }
  if (fresh.length > 0) next.samples = thinSamples([...next.samples, ...fresh]);
  if (freshLive.length > 0) next.liveSamples = recent([...next.liveSamples, ...freshLive]);
  return next;
}

type Draft = { -readonly [K in keyof JobModel]: JobModel[K] };

function applyState(next: Draft, event: EventOf<'state'>, history: boolean, copied: Set<string>): void {
  const startsAnew = event.state === 'running' && event.previous !== 'paused' && event.previous !== 'failed';
  if (startsAnew) {
    next.phases = new Map([...next.phases].filter(([phase]) => phase === 'validate'));
    next.indexes = new Map();
    next.samples = [];
    next.liveSamples = [];
    copied.add('phases').add('indexes');
  }
  if (event.state === 'validating' || event.state === 'running') {
    next.result = null;
    next.metric = null;
  }
  if (history) return;
  if (startsAnew) next.fraction = 0;
  if (event.state === 'validating') {
    next.checks = new Map();
    copied.add('checks');
  }
  if (next.job) next.job = { ...next.job, state: event.state, error: event.error };
}

function applyPhase(phases: Map<Phase, PhaseProgress>, event: EventOf<'phase'>): void {
  const before = phases.get(event.phase);
  phases.set(event.phase, {
    status: event.status,
    startedAt: event.status === 'started' ? event.at : (before?.startedAt ?? event.at),
    seconds: event.seconds,
    detail: event.detail || before?.detail || '',
  });
}

/** Share of a table's copy 0..1: by rows where the source knows how many, else by bytes; 1 only when it is committed. */
export function tableFraction(table: TableProgress): number {
  if (table.state === 'copied' || table.state === 'skipped') return 1;
  if (table.state === 'pending') return 0;
  const byRows = table.estimatedRows !== null && table.estimatedRows > 0;
  const share = byRows
    ? table.rows / (table.estimatedRows ?? 1)
    : table.sizeBytes > 0
      ? table.bytes / table.sizeBytes
      : 0;
  return Math.min(0.99, share);
}

const activeStates: ReadonlySet<JobState> = new Set([
  'validating',
  'running',
  'following',
  'cutting_over',
  'verifying',
]);

/** The agent is working on the job right now. */
export function isActive(state: JobState): boolean {
  return activeStates.has(state);
}

const endedStates: ReadonlySet<JobState> = new Set(['completed', 'cancelled']);

/** Nothing will ever happen to the job again. */
export function isOver(state: JobState): boolean {
  return endedStates.has(state);
}

/** The step a job is at, for links that do not name one. */
export function stepOf(job: JobView): 'validate' | 'migrate' {
  const validating = job.state === 'draft' || job.state === 'validating' || job.state === 'ready';
  return validating || job.state === 'blocked' || job.startedAt === null ? 'validate' : 'migrate';
}
