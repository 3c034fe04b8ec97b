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

/** Text exposition format of Prometheus, version 0.0.4. */
export function renderMetrics(jobs: ManagerMetrics, own: ProcessFigures): string {
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
    family('pgsluice_websocket_clients', 'gauge', 'Clients that follow a job now.', [{ value: own.websocketClients }]),
    family('process_resident_memory_bytes', 'gauge', 'Resident memory of the agent.', [{ value: own.residentBytes }]),
    family('process_uptime_seconds', 'gauge', 'Seconds since the agent started.', [{ value: own.uptimeSeconds }]),
  ].join('');
}

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
