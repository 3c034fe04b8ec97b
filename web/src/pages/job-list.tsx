import { useSignal } from '@preact/signals';
import { useCallback, useEffect } from 'preact/hooks';
import type { JobView } from '../../../src/contract/job.ts';
import { api, toApiError, type ApiError } from '../api.ts';
import { Confirm } from '../components/confirm.tsx';
import { Icon } from '../components/icon.tsx';
import { JobCard } from '../components/job-card.tsx';
import { ProblemNote } from '../components/parts.tsx';
import { plural } from '../format.ts';
import { sectionsOf, type JobSection } from '../job-sections.ts';
import { kindWords } from '../kind-words.ts';
import { groupHref } from '../router.ts';
import { useNow } from '../use-now.ts';

const refreshEveryMs = 2500;
const firstShown = 100;
const mostShown = 1000;

export function JobListPage() {
  const jobs = useSignal<readonly JobView[] | null>(null);
  const shown = useSignal(firstShown);
  const more = useSignal(false);
  const problem = useSignal<ApiError | null>(null);
  const removing = useSignal<JobView | null>(null);
  const now = useNow(10_000);
  const askToRemove = useCallback((job: JobView) => (removing.value = job), []);

  useEffect(() => {
    document.title = 'Jobs · pgsluice';
    let over = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const refresh = async (): Promise<void> => {
      try {
        const answer = await api.listJobs(shown.value);
        if (over) return;
        jobs.value = answer.jobs;
        more.value = answer.more;
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
  }, [shown.value]);

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
          New job
        </a>
      </div>
      {problem.value && <ProblemNote problem={problem.value} />}
      {jobs.value === null && problem.value === null && <p class="muted">Asking the agent for its jobs…</p>}
      {jobs.value?.length === 0 && <Welcome />}
      {jobs.value !== null &&
        sectionsOf(jobs.value).map((section, index, all) => (
          <Section
            // A run of single jobs is known by its newest.
            key={section.group?.id ?? `after ${all[index - 1]?.group?.id ?? ''}`}
            section={section}
            alone={all.length === 1}
            now={now}
            onRemove={askToRemove}
          />
        ))}
      {more.value && shown.value < mostShown && (
        <button
          type="button"
          class="button"
          data-testid="older-jobs"
          onClick={() => (shown.value = Math.min(2 * shown.value, mostShown))}
        >
          Show older jobs
        </button>
      )}
      {more.value && shown.value >= mostShown && (
        <p class="muted">These are the newest {mostShown}. “pgsluice jobs” lists all.</p>
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
          {forgetting(removing.value)}
        </Confirm>
      )}
    </div>
  );
}

function forgetting(job: JobView): string {
  const left = job.kind === 'export' ? 'An archive that it has written stays.' : 'What was moved stays on the target.';
  const live =
    job.method === 'live'
      ? ` What a live ${kindWords(job).task} has set up to follow the source, its slot above all, is taken off both servers first.`
      : '';
  return `Its log, its report and its stored passwords are deleted from the agent. ${left}${live}`;
}

interface SectionProps {
  readonly section: JobSection;
  /** It is all there is, so that it needs no heading. */
  readonly alone: boolean;
  readonly now: number;
  readonly onRemove: (job: JobView) => void;
}

function Section({ section, alone, now, onRemove }: SectionProps) {
  const { group, jobs } = section;
  const title =
    group === null ? (
      <h2 class={alone ? 'visually-hidden' : 'list-title'}>{alone ? 'All jobs' : 'Single jobs'}</h2>
    ) : (
      <h2 class="list-title">
        <a href={groupHref(group.id)} data-testid="group-link">
          {group.name}
        </a>{' '}
        <span class="count">{plural(jobs.length, 'database')}</span>
      </h2>
    );
  return (
    <section class="job-section" data-testid={group === null ? undefined : 'group-section'}>
      {title}
      <ul class="job-list">
        {jobs.map((job) => (
          <JobCard key={job.id} job={job} now={now} onRemove={onRemove} />
        ))}
      </ul>
    </section>
  );
}

function Welcome() {
  return (
    <div class="card welcome">
      <h2>Nothing here yet</h2>
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
      <p class="muted">
        Source and target never exist at the same time? Save the database to an archive first, and load it later.
      </p>
    </div>
  );
}
