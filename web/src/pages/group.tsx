import { useSignal } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import type { GroupAction, GroupActionResult, GroupView } from '../../../src/contract/group.ts';
import type { JobView } from '../../../src/contract/job.ts';
import { api, toApiError, type ApiError } from '../api.ts';
import { Confirm } from '../components/confirm.tsx';
import { Icon } from '../components/icon.tsx';
import { Figure, ProblemNote, ProgressBar, StateBadge } from '../components/parts.tsx';
import { formatBytes, formatCount, formatPercent, plural } from '../format.ts';
import { groupOffers } from '../group-offers.ts';
import { isActive, stepOf } from '../model.ts';
import { goTo, jobHref } from '../router.ts';
import { stateBadge } from '../words.ts';
// oxlint-disable-next-line import/no-unassigned-import -- the style sheet of this page is loaded with it
import './group.css';

const refreshEveryMs = 2000;

/** Several databases of the same two servers: one list, the totals on top. */
export function GroupPage({ id }: { id: string }) {
  const group = useSignal<GroupView | null>(null);
  const problem = useSignal<ApiError | null>(null);
  const refused = useSignal<GroupActionResult['members']>([]);
  const acting = useSignal<GroupAction | 'remove' | null>(null);
  const asking = useSignal<'cancel' | 'remove' | null>(null);

  useEffect(() => {
    let over = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const refresh = async (): Promise<void> => {
      try {
        const answer = await api.getGroup(id);
        if (over) return;
        // An answer that was on its way while a step was taken is older than what the step answered.
        if (acting.value === null) group.value = answer;
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
  }, [id]);

  const name = group.value?.name ?? 'Databases';
  useEffect(() => {
    document.title = `${name} · pgsluice`;
  }, [name]);

  const act = async (action: GroupAction): Promise<void> => {
    asking.value = null;
    acting.value = action;
    refused.value = [];
    try {
      const result = await api.actOnGroup(id, action);
      group.value = result.group;
      refused.value = result.members.filter(({ outcome }) => outcome === 'refused');
    } catch (error) {
      problem.value = toApiError(error);
    } finally {
      acting.value = null;
    }
  };
  const remove = async (): Promise<void> => {
    asking.value = null;
    acting.value = 'remove';
    try {
      await api.removeGroup(id);
      goTo('#/jobs');
    } catch (error) {
      problem.value = toApiError(error);
      acting.value = null;
    }
  };

  const view = group.value;
  if (view === null) {
    return (
      <div class="page">
        {problem.value === null ? (
          <p class="muted">Asking the agent for these databases…</p>
        ) : (
          <ProblemNote problem={problem.value}>
            <p>
              <a href="#/jobs">All jobs</a>
            </p>
          </ProblemNote>
        )}
      </div>
    );
  }
  const offers = groupOffers(view.jobs);
  const idle = !view.jobs.some((job) => isActive(job.state));
  return (
    <div class="page">
      <div class="page-head">
        <h1 class="job-name">{view.name}</h1>
        <p class="route">
          <span>
            {view.source.host}:{view.source.port}
          </span>
          <Icon name="arrow" />
          <span class="visually-hidden">to</span>
          <span>
            {view.target.host}:{view.target.port}
          </span>
        </p>
      </div>
      {problem.value && <ProblemNote problem={problem.value} />}
      <section class="hero card" aria-label="All databases">
        <p class="summary" data-testid="group-summary" aria-live="polite">
          {view.summary}
        </p>
        <ProgressBar
          fraction={view.totals.fraction}
          label="Share of all databases"
          text={formatPercent(view.totals.fraction)}
          tone={view.totals.failed > 0 ? 'bad' : view.totals.verified ? 'good' : 'active'}
        />
        <GroupTotals view={view} />
        <div class="actions">
          {offers.map(({ action, count }) => (
            <button
              key={action}
              type="button"
              class={action === 'cancel' ? 'danger' : action === offers[0]?.action ? 'primary' : ''}
              data-testid={`group-${action}`}
              disabled={acting.value !== null}
              onClick={() => (action === 'cancel' ? (asking.value = 'cancel') : void act(action))}
            >
              {acting.value === action ? 'Asking the agent…' : `${actionWords[action]} (${count})`}
              {action === 'cancel' && acting.value !== 'cancel' && '…'}
            </button>
          ))}
          {idle && (
            <button type="button" disabled={acting.value !== null} onClick={() => (asking.value = 'remove')}>
              {acting.value === 'remove' ? 'Forgetting…' : 'Forget all…'}
            </button>
          )}
        </div>
        {refused.value.length > 0 && (
          <div class="note tone-bad" role="alert">
            <p class="note-title">{plural(refused.value.length, 'database')} could not take this step</p>
            <ul>
              {refused.value.map(({ job, database, message, error }) => (
                <li key={job}>
                  <strong>{database}</strong>: {message} {error?.hint}
                </li>
              ))}
            </ul>
          </div>
        )}
      </section>
      <Databases view={view} />
      {asking.value === 'cancel' && (
        <Confirm
          title="Cancel all of these migrations?"
          yes="Cancel them all"
          no="Keep them going"
          testId="confirm-group-cancel"
          onYes={() => void act('cancel')}
          onNo={() => (asking.value = null)}
        >
          Databases that are completed stay as they are. Of the others the targets keep what they have and are not
          complete. A cancelled job cannot be resumed.
        </Confirm>
      )}
      {asking.value === 'remove' && (
        <Confirm
          title={`Forget “${view.name}”?`}
          yes="Forget all its jobs"
          no="Keep them"
          testId="confirm-group-remove"
          onYes={() => void remove()}
          onNo={() => (asking.value = null)}
        >
          Their logs, reports and stored passwords are deleted from the agent. What was moved stays on the target.
        </Confirm>
      )}
    </div>
  );
}

const actionWords: Readonly<Record<GroupAction, string>> = {
  validate: 'Check again',
  start: 'Start all',
  pause: 'Pause all',
  resume: 'Resume all',
  cancel: 'Cancel all',
  retry: 'Retry what failed',
};

function GroupTotals({ view }: { view: GroupView }) {
  const { totals, jobs } = view;
  const differences = jobs.reduce((sum, job) => sum + job.differences, 0);
  const verified = jobs.filter((job) => job.verified).length;
  return (
    <dl class="totals">
      <Figure
        name="Databases"
        value={`${formatCount(totals.done)} of ${formatCount(totals.databases)}`}
        {...(totals.failed > 0 ? { detail: `${totals.failed} not completed` } : {})}
      />
      <Figure name="Share" value={formatPercent(totals.fraction)} />
      <Figure name="Rows" value={formatCount(totals.rows)} />
      <Figure name="Data" value={formatBytes(totals.bytes)} />
      <Figure name="Verified" value={`${formatCount(verified)} of ${formatCount(totals.databases)}`} />
      <Figure name="Differences" value={formatCount(differences)} />
    </dl>
  );
}

function Databases({ view }: { view: GroupView }) {
  const left = view.plan.filter(({ skipped }) => skipped !== null);
  return (
    <>
      <section class="card" aria-labelledby="databases-title">
        <h2 id="databases-title">
          Databases <span class="count">{formatCount(view.jobs.length)}</span>
        </h2>
        <table class="databases">
          <thead>
            <tr>
              <th scope="col">Database</th>
              <th scope="col">State</th>
              <th scope="col">Share</th>
              <th scope="col" class="numeric">
                Tables
              </th>
              <th scope="col" class="numeric">
                Rows
              </th>
              <th scope="col" class="numeric">
                Data
              </th>
              <th scope="col">Verified</th>
              <th scope="col" class="numeric">
                Differences
              </th>
            </tr>
          </thead>
          <tbody>
            {view.jobs.map((job) => (
              <Row key={job.id} job={job} />
            ))}
          </tbody>
        </table>
      </section>
      {left.length > 0 && (
        <section class="card" aria-labelledby="left-title">
          <h2 id="left-title">
            Left out <span class="count">{formatCount(left.length)}</span>
          </h2>
          <ul class="left-out">
            {left.map(({ database, skipped }) => (
              <li key={database}>
                <strong>{database}</strong>: {skipped}
              </li>
            ))}
          </ul>
        </section>
      )}
    </>
  );
}

/** Drawn anew only when the job has changed: there may be a thousand. */
function Row({ job }: { job: JobView }) {
  return useMemo(
    () => <Cells job={job} />,
    [job.updatedAt, job.lastSeq, job.state, job.totals.fraction, job.totals.rows],
  );
}

function Cells({ job }: { job: JobView }) {
  const name = job.source?.database ?? job.target?.database ?? job.name;
  const share = job.state === 'completed' ? 1 : job.totals.fraction;
  const compared = job.state === 'completed' && job.options.verify !== 'none';
  return (
    <tr data-testid="database-row" data-database={name} data-state={job.state}>
      <th scope="row">
        <a href={jobHref(job.id, stepOf(job))}>{name}</a>
        {job.error !== null && <span class="row-error">{job.error.message}</span>}
      </th>
      <td data-label="State">
        <StateBadge job={job} />
      </td>
      <td data-label="Share" class="share">
        <ProgressBar
          fraction={share}
          label={`Progress of ${name}`}
          text={formatPercent(share)}
          tone={isActive(job.state) ? 'active' : stateBadge(job).tone}
        />
        <span>{formatPercent(share)}</span>
      </td>
      <td data-label="Tables" class="numeric">
        {formatCount(job.totals.tablesDone)} of {formatCount(job.totals.tables)}
      </td>
      <td data-label="Rows" class="numeric">
        {formatCount(job.totals.rows)}
      </td>
      <td data-label="Data" class="numeric">
        {formatBytes(job.totals.bytes)}
      </td>
      <td data-label="Verified">{job.verified ? 'Equal' : compared ? 'No' : 'Not yet'}</td>
      <td data-label="Differences" class="numeric">
        {compared ? formatCount(job.differences) : 'not known'}
      </td>
    </tr>
  );
}
