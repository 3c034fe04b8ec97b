import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { JobView } from '../../../src/contract/job.ts';
import { api, toApiError, type ApiError } from '../api.ts';
import { Confirm } from '../components/confirm.tsx';
import { Icon } from '../components/icon.tsx';
import { ProblemNote, ProgressBar, StateBadge } from '../components/parts.tsx';
import { describeSide } from '../endpoint.ts';
import { formatAgo, formatBytes, formatCount, formatPercent, plural } from '../format.ts';
import { isActive, stepOf } from '../model.ts';
import { jobHref } from '../router.ts';
import { useNow } from '../use-now.ts';
import { phasesOf, stateBadge } from '../words.ts';

const refreshEveryMs = 2500;

export function JobListPage() {
  const jobs = useSignal<readonly JobView[] | null>(null);
  const problem = useSignal<ApiError | null>(null);
  const removing = useSignal<JobView | null>(null);
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

  const remove = async (): Promise<void> => {
    const job = removing.value;
    removing.value = null;
    if (job === null) return;
    try {
      await api.removeJob(job.id);
      jobs.value = jobs.value?.filter((other) => other.id !== job.id) ?? null;
    } catch (error) {
      problem.value = toApiError(error);
    }
  };

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
            <JobCard key={job.id} job={job} now={now} onRemove={() => (removing.value = job)} />
          ))}
        </ul>
      )}
      {removing.value && (
        <Confirm
          title={`Forget “${removing.value.name}”?`}
          yes="Forget the job"
          no="Keep it"
          testId="confirm-remove"
          onYes={() => void remove()}
          onNo={() => (removing.value = null)}
        >
          Its log, its report and its stored passwords are deleted from the agent. What was moved stays on the target.
          {removing.value.method === 'live' &&
            ' What a live migration has set up to follow the source, its slot above all, is taken off both servers first.'}
        </Confirm>
      )}
    </div>
  );
}

function Welcome() {
  return (
    <div class="card welcome">
      <h2>No migration yet</h2>
      <p>A migration takes three steps. Nothing is changed on either server before the third.</p>
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
          Watch it, cut over when it suits you, then read the proof that nothing was lost.
        </li>
      </ol>
      <a class="button primary" href="#/new">
        Configure a migration
      </a>
    </div>
  );
}

function JobCard({ job, now, onRemove }: { job: JobView; now: number; onRemove: () => void }) {
  const { totals } = job;
  const phase = phasesOf(job).find((entry) => entry.phase === job.phase);
  return (
    <li class="job-card card">
      <div class="job-card-head">
        <h2>
          <a href={jobHref(job.id, stepOf(job))}>{job.name}</a>
        </h2>
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
        <time dateTime={job.updatedAt}>{formatAgo(job.updatedAt, now)}</time>
        {!isActive(job.state) && (
          <button type="button" class="small forget" onClick={onRemove}>
            Forget<span class="visually-hidden"> {job.name}</span>
          </button>
        )}
      </p>
    </li>
  );
}
