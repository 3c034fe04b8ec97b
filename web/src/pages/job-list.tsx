import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { JobView } from '../../../src/contract/job.ts';
import { api, toApiError, type ApiError } from '../api.ts';
import { Icon } from '../components/icon.tsx';
import { ProblemNote, ProgressBar, StateBadge } from '../components/parts.tsx';
import { describeEndpoint } from '../endpoint.ts';
import { formatAgo, formatBytes, formatCount, formatPercent, plural } from '../format.ts';
import { isActive, stepOf } from '../model.ts';
import { jobHref } from '../router.ts';
import { useNow } from '../use-now.ts';
import { migrationPhases } from '../words.ts';

const refreshEveryMs = 2500;

export function JobListPage() {
  const jobs = useSignal<readonly JobView[] | null>(null);
  const problem = useSignal<ApiError | null>(null);
  const now = useNow(10_000);

  useEffect(() => {
    document.title = 'Jobs · pgsluice';
    let over = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const refresh = async (): Promise<void> => {
      try {
        const answer = await api.listJobs();
        if (over) return;
        jobs.value = answer.toSorted((a, b) => b.createdAt.localeCompare(a.createdAt));
        problem.value = null;
      } catch (error) {
        if (over) return;
        problem.value = toApiError(error);
      }
      timer = setTimeout(() => void refresh(), refreshEveryMs);
    };
    void refresh();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, []);

  return (
    <div class="page">
      <div class="page-head">
        <h1>Jobs</h1>
        <a class="button primary" href="#/new" data-testid="new-job">
          <Icon name="plus" />
          New migration
        </a>
      </div>
      {problem.value && <ProblemNote problem={problem.value} />}
      {jobs.value === null && problem.value === null && <p class="muted">Asking the agent for its jobs…</p>}
      {jobs.value?.length === 0 && <Welcome />}
      {jobs.value && jobs.value.length > 0 && (
        <ul class="job-list">
          {jobs.value.map((job) => (
            <JobCard key={job.id} job={job} now={now} />
          ))}
        </ul>
      )}
    </div>
  );
}

function Welcome() {
  return (
    <div class="card welcome">
      <h2>No migration yet</h2>
      <p>A migration takes three steps. Nothing is changed on either server before the third, and the source never is.</p>
      <ol class="welcome-steps">
        <li>
          <strong>Configure</strong>
          Name the source and the target.
        </li>
        <li>
          <strong>Validate</strong>
          See what would stop the copy, and how to fix it.
        </li>
        <li>
          <strong>Migrate</strong>
          Watch the copy, then read the proof that nothing was lost.
        </li>
      </ol>
      <a class="button primary" href="#/new">
        Configure a migration
      </a>
    </div>
  );
}

function JobCard({ job, now }: { job: JobView; now: number }) {
  const { totals } = job;
  const phase = migrationPhases.find((entry) => entry.phase === job.phase);
  return (
    <li class="job-card card">
      <div class="job-card-head">
        <h2>
          <a href={jobHref(job.id, stepOf(job))}>{job.name}</a>
        </h2>
        <StateBadge state={job.state} />
      </div>
      <p class="route">
        <span>{describeEndpoint(job.source)}</span>
        <Icon name="arrow" />
        <span class="visually-hidden">to</span>
        <span>{describeEndpoint(job.target)}</span>
      </p>
      {job.startedAt !== null && (
        <ProgressBar
          fraction={job.state === 'completed' ? 1 : totals.fraction}
          label={`Progress of ${job.name}`}
          text={formatPercent(totals.fraction)}
          tone={job.state === 'completed' ? 'good' : job.state === 'failed' ? 'bad' : 'active'}
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
        {job.state === 'completed' && <span>{job.verified ? 'verified' : 'not verified'}</span>}
        <time dateTime={job.updatedAt}>{formatAgo(job.updatedAt, now)}</time>
      </p>
    </li>
  );
}
