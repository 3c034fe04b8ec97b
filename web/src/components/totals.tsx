import type { JobView } from '../../../src/contract/job.ts';
import { formatBytes, formatCount, formatDuration, formatRate, formatRemaining } from '../format.ts';
import { isActive, type JobModel } from '../model.ts';
import { useNow } from '../use-now.ts';
import { Figure } from './parts.tsx';

/** Figures of the whole job. While it runs from the stream, before and after from the agent's answer. */
export function Totals({ job, model }: { job: JobView; model: JobModel }) {
  const { metric } = model;
  const running = job.state === 'running';
  const totals = {
    tables: Math.max(job.totals.tables, metric?.tables ?? 0),
    tablesDone: Math.max(job.totals.tablesDone, metric?.tablesDone ?? 0),
    rows: Math.max(job.totals.rows, metric?.rows ?? 0),
    bytes: Math.max(job.totals.bytes, metric?.bytes ?? 0),
  };
  const moving = running && metric !== null && model.fraction < 1;
  return (
    <dl class="totals">
      <Figure
        name="Tables"
        value={`${formatCount(totals.tablesDone)} of ${formatCount(totals.tables)}`}
        {...(job.totals.tablesFailed > 0 ? { detail: `${job.totals.tablesFailed} failed` } : {})}
      />
      <Figure
        name="Rows"
        value={formatCount(totals.rows)}
        {...(moving ? { detail: `${formatCount(Math.round(metric.rowsPerSecond))} rows/s` } : {})}
      />
      <Figure
        name="Data"
        value={formatBytes(totals.bytes)}
        {...(moving ? { detail: formatRate(metric.bytesPerSecond) } : {})}
      />
      {moving && (
        <Figure name={job.kind === 'move' ? 'Copy time left' : 'Time left'} value={formatRemaining(metric.remaining)} />
      )}
      {job.startedAt !== null && <Elapsed job={job} />}
    </dl>
  );
}

function Elapsed({ job }: { job: JobView }) {
  const now = useNow(1000);
  const end = job.finishedAt === null ? now : Date.parse(job.finishedAt);
  const seconds = Math.max(0, (end - Date.parse(job.startedAt ?? job.createdAt)) / 1000);
  return (
    <Figure
      name={job.finishedAt !== null ? 'Took' : isActive(job.state) ? 'Running for' : 'Since the start'}
      value={formatDuration(seconds)}
    />
  );
}
