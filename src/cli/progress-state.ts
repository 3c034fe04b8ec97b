import type { JobEvent, JobState, Phase, ResultEvent, TableProgress } from '../contract/event.ts';
import { phases } from '../contract/event.ts';

type MetricEvent = Extract<JobEvent, { type: 'metric' }>;
type IndexEvent = Extract<JobEvent, { type: 'index' }>;

const copyPhases: readonly Phase[] = ['validate', ...phases, 'verify'];
const livePhases: readonly Phase[] = ['validate', 'slot', 'schema', 'copy', 'indexes', 'follow', 'cutover', 'verify'];

/** The line of phases as a person sees it, in their order. */
export function shownPhases(state: Pick<ProgressState, 'phases' | 'metric' | 'state'>): readonly Phase[] {
  return state.phases.has('slot') || state.metric?.live !== undefined || isFollowing(state) ? livePhases : copyPhases;
}

/** The copy is done and the job waits for its cutover, or is in it. */
export function isFollowing({ state }: Pick<ProgressState, 'state'>): boolean {
  return state === 'following' || state === 'cutting_over';
}

/** What the progress display knows; a pure fold over the job's events. */
export interface ProgressState {
  readonly title: string;
  readonly state: JobState;
  /** Phases that were begun, and how they stand. */
  readonly phases: ReadonlyMap<Phase, { readonly status: 'started' | 'finished'; readonly seconds: number | null }>;
  /** The phase begun last. */
  readonly phase: Phase | null;
  readonly phaseDetail: string;
  readonly metric: MetricEvent | null;
  /** Tables that are being copied now, in the order they were begun. */
  readonly active: ReadonlyMap<string, TableProgress>;
  readonly failedTables: number;
  /** Indexes and constraints that are being built now; `since` in ms of the clock of the events. */
  readonly building: ReadonlyMap<string, { readonly event: IndexEvent; readonly since: number }>;
  readonly built: number;
  readonly checks: { readonly passed: number; readonly warned: number; readonly failed: number };
  readonly result: ResultEvent | null;
  /** Which guardrails are not ok, in one text: what a person has to hear of at once when it changes. */
  readonly standing: string;
  /** When the step of the cutover that is under way was first seen, in ms of the clock of the events, and its name. */
  readonly step: { readonly key: string; readonly seenAt: number } | null;
  /** Time of the last event, in ms. */
  readonly now: number;
}

export function emptyProgress(title: string): ProgressState {
  return {
    title,
    state: 'draft',
    phases: new Map(),
    phase: null,
    phaseDetail: '',
    metric: null,
    active: new Map(),
    failedTables: 0,
    building: new Map(),
    built: 0,
    checks: { passed: 0, warned: 0, failed: 0 },
    result: null,
    standing: '',
    step: null,
    now: 0,
  };
}

export function reduceProgress(before: ProgressState, event: JobEvent): ProgressState {
  const state = { ...before, now: Date.parse(event.at) };
  switch (event.type) {
    case 'state':
      return afterState(state, event.state);
    case 'phase': {
      const known = new Map(state.phases).set(event.phase, { status: event.status, seconds: event.seconds });
      if (event.status === 'started') return { ...state, phases: known, phase: event.phase, phaseDetail: event.detail };
      return { ...state, phases: known };
    }
    case 'check':
      return { ...state, checks: countCheck(state.checks, event.check.outcome) };
    case 'table':
      return afterTable(state, event.table);
    case 'index':
      return afterIndex(state, event);
    case 'metric':
      return { ...state, metric: event, ...afterLive(state, event) };
    case 'result':
      return { ...state, result: event };
    case 'log':
      return state;
  }
}

/** The source's clock is not ours: how long a step runs is counted from when it was first seen. */
function afterLive(state: ProgressState, { live }: MetricEvent): Pick<ProgressState, 'standing' | 'step'> {
  const standing = (live?.guardrails ?? [])
    .filter((guardrail) => guardrail.state !== 'ok')
    .map((guardrail) => `${guardrail.id} ${guardrail.state}`)
    .join(', ');
  const running = live?.cutover.find((step) => step.ms === null);
  if (running === undefined) return { standing, step: null };
  const key = `${running.step} ${running.startedAt}`;
  return { standing, step: state.step?.key === key ? state.step : { key, seenAt: state.now } };
}

/** A job that begins to run again begins with nothing under way; what it finished before stays. */
function afterState(state: ProgressState, next: JobState): ProgressState {
  const fresh = { ...state, state: next, active: new Map<string, TableProgress>(), building: new Map() };
  if (next === 'validating') return { ...fresh, checks: { passed: 0, warned: 0, failed: 0 } };
  if (next === 'running' || next === 'verifying' || next === 'cutting_over') return { ...state, state: next };
  return fresh;
}

function countCheck(counts: ProgressState['checks'], outcome: string): ProgressState['checks'] {
  if (outcome === 'failed') return { ...counts, failed: counts.failed + 1 };
  if (outcome === 'warned') return { ...counts, warned: counts.warned + 1 };
  return { ...counts, passed: counts.passed + 1 };
}

function afterTable(state: ProgressState, table: TableProgress): ProgressState {
  const active = new Map(state.active);
  const key = `${table.schema}\u0000${table.name}`;
  if (table.state === 'copying') active.set(key, table);
  else active.delete(key);
  return { ...state, active, failedTables: state.failedTables + (table.state === 'failed' ? 1 : 0) };
}

function afterIndex(state: ProgressState, event: IndexEvent): ProgressState {
  const building = new Map(state.building);
  const key = [event.kind, event.schema, event.table, event.name].join('\u0000');
  if (event.state === 'building') building.set(key, { event, since: state.now });
  else building.delete(key);
  return { ...state, building, built: state.built + (event.state === 'built' ? 1 : 0) };
}
