import { useEffect, useMemo } from 'preact/hooks';
import { Connection } from '../components/connection.tsx';
import { ProblemNote, StateBadge } from '../components/parts.tsx';
import { Steps } from '../components/steps.tsx';
import { openSession } from '../job-session.ts';
import { lazy } from '../lazy.tsx';
import { isActive, stepOf } from '../model.ts';
import { groupHref } from '../router.ts';
import { phasesOf, stateWord } from '../words.ts';
import { MigratePage } from './migrate.tsx';
import { ValidatePage } from './validate.tsx';

const ReportPage = lazy(async () => (await import('./report.tsx')).ReportPage);

/** Everything about one job: opens its session, then shows the step of the address. */
export function JobPage({ id, step }: { id: string; step: 'validate' | 'migrate' | 'report' | null }) {
  const session = useMemo(() => openSession(id), [id]);
  const job = session.job.value;
  const problem = session.loadError.value;
  const name = job?.name ?? 'Job';
  const words = job === null ? '' : stateWord(job);
  useEffect(() => {
    document.title = words === '' ? 'pgsluice' : `${words}: ${name} · pgsluice`;
  }, [words, name]);

  if (job === null) {
    return (
      <div class="page">
        {problem === null ? (
          <p class="muted">Asking the agent for this job…</p>
        ) : (
          <ProblemNote problem={problem}>
            <p>
              <button type="button" onClick={() => void session.open()}>
                Ask again
              </button>{' '}
              <a href="#/jobs">All jobs</a>
            </p>
          </ProblemNote>
        )}
      </div>
    );
  }
  if (step === 'report') return <ReportPage job={job} />;
  const shown = step ?? stepOf(job);
  const phase = phasesOf(job).find((entry) => entry.phase === job.phase)?.word;
  const moving = isActive(job.state) && job.state !== 'validating';
  return (
    <div class="page">
      <Steps current={shown} job={job} />
      {job.group !== null && (
        <p class="crumb">
          One of <a href={groupHref(job.group.id)}>{job.group.name}</a>
        </p>
      )}
      <div class="page-head">
        <h1 class="job-name">{job.name}</h1>
        <div class="page-head-end">
          <StateBadge job={job} testId="job-state" />
          <Connection session={session} />
        </div>
      </div>
      {/* Heard once per change; the sentence that is seen also holds figures, which would be read out all the time. */}
      <p class="visually-hidden" aria-live="polite">
        {stateWord(job)}
        {moving && phase ? `, phase ${phase}` : ''}
      </p>
      {problem !== null && <ProblemNote problem={problem} />}
      {shown === 'validate' ? (
        <ValidatePage session={session} job={job} />
      ) : (
        <MigratePage session={session} job={job} />
      )}
    </div>
  );
}
