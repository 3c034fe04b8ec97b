import type { JobView } from '../contract/job.ts';
import type { LiveProgress } from '../contract/live.ts';
import type { ManagerMetrics } from '../jobs/manager.ts';

export interface ProcessFigures {
  readonly version: string;
  readonly websocketClients: number;
  readonly residentBytes: number;
  readonly uptimeSeconds: number;
}

interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What the metrics read of a job. */
export type MetricJob = Pick<JobView, 'id' | 'state' | 'live'>;

/** Text exposition format of Prometheus, version 0.0.4. `all`: the stored jobs; those that follow get gauges of their own. */
export function renderMetrics(jobs: ManagerMetrics, all: readonly MetricJob[], own: ProcessFigures): string {
  return [
    family('pgsluice_build_info', 'gauge', 'Version of the agent.', [
      { labels: { version: own.version, store: jobs.store }, value: 1 },
    ]),
    family(
      'pgsluice_jobs',
      'gauge',
      'Jobs in the store by state.',
      Object.entries(jobs.jobs).map(([state, value]) => ({ labels: { state }, value })),
    ),
    family('pgsluice_jobs_running', 'gauge', 'Jobs that run now.', [{ value: jobs.running }]),
    family('pgsluice_jobs_queued', 'gauge', 'Jobs that wait for a free place.', [{ value: jobs.queued }]),
    family('pgsluice_events_written_total', 'counter', 'Events stored since the agent started.', [
      { value: jobs.eventsWritten },
    ]),
    family('pgsluice_events_pending', 'gauge', 'Events that are not stored yet.', [{ value: jobs.eventsPending }]),
    family('pgsluice_copied_bytes_total', 'counter', 'Bytes of table data copied since the agent started.', [
      { value: jobs.bytesCopied },
    ]),
    family('pgsluice_copied_rows_total', 'counter', 'Rows copied since the agent started.', [
      { value: jobs.rowsCopied },
    ]),
    ...liveFamilies(all),
    family('pgsluice_websocket_clients', 'gauge', 'Clients that follow a job now.', [{ value: own.websocketClients }]),
    family('process_resident_memory_bytes', 'gauge', 'Resident memory of the agent.', [{ value: own.residentBytes }]),
    family('process_uptime_seconds', 'gauge', 'Seconds since the agent started.', [{ value: own.uptimeSeconds }]),
  ].join('');
}

/** Gauges end with the job: a figure of a slot that is gone would keep an alarm ringing. */
function liveFamilies(all: readonly MetricJob[]): string[] {
  const following = all.filter(({ state }) => !isOver.has(state));
  const samples = (read: (live: LiveProgress) => number | null): Sample[] =>
    following.flatMap(({ id, live }) => {
      const value = live === null ? null : read(live);
      return value === null ? [] : [{ labels: { job: id }, value }];
    });
  return [
    family(
      'pgsluice_live_lag_bytes',
      'gauge',
      'WAL of the source that the target has not applied.',
      samples((live) => live.lagBytes),
    ),
    family(
      'pgsluice_live_lag_seconds',
      'gauge',
      'Age of the oldest commit that the target has not applied.',
      samples((live) => live.lagSeconds),
    ),
    family(
      'pgsluice_slot_retained_bytes',
      'gauge',
      'WAL that the slot of the job makes the source keep.',
      samples((live) => live.slot?.retainedBytes ?? null),
    ),
  ];
}

const isOver: ReadonlySet<JobView['state']> = new Set(['completed', 'cancelled', 'failed']);

function family(name: string, type: 'gauge' | 'counter', help: string, samples: readonly Sample[]): string {
  const lines = samples.map(({ labels, value }) => `${name}${labelText(labels)} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}

function labelText(labels: Readonly<Record<string, string>> | undefined): string {
  if (labels === undefined) return '';
  const pairs = Object.entries(labels).map(([key, value]) => `${key}="${escapeLabel(value)}"`);
  return `{${pairs.join(',')}}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
