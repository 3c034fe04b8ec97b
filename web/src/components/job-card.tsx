import { useMemo } from 'preact/hooks';
import type { JobView } from '../../../src/contract/job.ts';
import { describeSide } from '../endpoint.ts';
import { formatAgo, formatBytes, formatCount, formatPercent, plural } from '../format.ts';
import { isActive, stepOf } from '../model.ts';
import { jobHref } from '../router.ts';
import { phasesOf, stateBadge } from '../words.ts';
import { Icon } from './icon.tsx';
import { ProgressBar, StateBadge } from './parts.tsx';

interface CardProps {
  readonly job: JobView;
  /** ms since the epoch. */
  readonly now: number;
  readonly onRemove: (job: JobView) => void;
}

/** One job of the list. Drawn anew only when what it shows has changed: the list may hold hundreds. */
export function JobCard({ job, now, onRemove }: CardProps) {
  const ago = formatAgo(job.updatedAt, now);
  return useMemo(
    () => <Card job={job} ago={ago} onRemove={onRemove} />,
    [job.updatedAt, job.lastSeq, job.state, job.summary, job.totals.fraction, ago],
  );
}

function Card({ job, ago, onRemove }: Omit<CardProps, 'now'> & { readonly ago: string }) {
  const { totals } = job;
  const phase = phasesOf(job).find((entry) => entry.phase === job.phase);
  return (
    <li class="job-card card" data-testid="job-card">
      <div class="job-card-head">
        <h3>
          <a href={jobHref(job.id, stepOf(job))}>{job.name}</a>
        </h3>
        <StateBadge job={job} />
      </div>
      <p class="route">
        <span>{describeSide(job, 'source')}</span>
        <Icon name="arrow" />
        <span class="visually-hidden">to</span>
        <span>{describeSide(job, 'target')}</span>
      </p>
      {job.startedAt !== null && (
        <ProgressBar
          fraction={job.state === 'completed' ? 1 : totals.fraction}
          label={`Progress of ${job.name}`}
          text={formatPercent(totals.fraction)}
          tone={isActive(job.state) ? 'active' : stateBadge(job).tone}
        />
      )}
      <p class="job-card-summary">{job.error?.message ?? job.summary}</p>
      <p class="job-card-figures muted">
        {job.startedAt !== null && (
          <>
            <span>
              {formatCount(totals.tablesDone)} of {plural(totals.tables, 'table')}
            </span>
            <span>{plural(totals.rows, 'row')}</span>
            <span>{formatBytes(totals.bytes)}</span>
          </>
        )}
        {isActive(job.state) && phase && <span>{phase.does}</span>}
        {job.verified && <span>verified</span>}
        <time dateTime={job.updatedAt}>{ago}</time>
        {!isActive(job.state) && (
          <button type="button" class="small forget" onClick={() => onRemove(job)}>
            Forget<span class="visually-hidden"> {job.name}</span>
          </button>
        )}
      </p>
    </li>
  );
}
