import { useSignal } from '@preact/signals';
import type { CheckResult } from '../../../src/contract/check.ts';
import type { JobView } from '../../../src/contract/job.ts';
import { api, toApiError, type ApiError } from '../api.ts';
import { groupChecks, type CheckGroups, type FamilyGroup } from '../check-groups.ts';
import { CheckCard } from '../components/check-card.tsx';
import { CopyBlock } from '../components/copy-button.tsx';
import { Badge, ProblemNote } from '../components/parts.tsx';
import { Waiting } from '../components/waiting.tsx';
import { describeSide } from '../endpoint.ts';
import { plural } from '../format.ts';
import type { JobSession } from '../job-session.ts';
import { kindWords } from '../kind-words.ts';
import { checkKey } from '../model.ts';
import { goTo, jobHref } from '../router.ts';
import { fileNameOf, saveFile } from '../save-file.ts';
import { familyWords, outcomeTones, outcomeWords } from '../words.ts';

/** Step 2: what was looked at, what stops the job, and how to fix it. */
export function ValidatePage({ session, job }: { session: JobSession; job: JobView }) {
  const checks = [...session.model.value.checks.values()];
  const groups = groupChecks(checks);
  const running = job.state === 'validating' || (job.state === 'draft' && session.acting.value !== null);
  const validatable = job.state === 'draft' || job.state === 'ready' || job.state === 'blocked';
  const acting = session.acting.value;
  const { task } = kindWords(job);
  const warned = groups.counts.warnings + groups.counts.accepted;
  const start = async (): Promise<void> => {
    if (await session.act('start')) goTo(jobHref(job.id, 'migrate'));
  };
  return (
    <>
      <Verdict job={job} checks={checks} groups={groups} running={running} />
      <Waiting job={job} model={session.model.value} />
      {session.actionError.value && <ProblemNote problem={session.actionError.value} />}
      <div class="actions">
        {job.state === 'ready' && (
          <button
            type="button"
            class="primary"
            data-testid="start-migration"
            disabled={acting !== null}
            onClick={() => void start()}
          >
            {acting === 'start' ? 'Starting…' : `Start the ${task}`}
          </button>
        )}
        {job.startedAt !== null && (
          <a class="button primary" href={jobHref(job.id, 'migrate')}>
            Show the {task}
          </a>
        )}
        {validatable && (
          <button
            type="button"
            data-testid="run-validation"
            disabled={acting !== null}
            onClick={() => void session.act('validate')}
          >
            {acting === 'validate' ? 'Asking the agent…' : 'Check everything again'}
          </button>
        )}
        <a class="button" href={`#/new/from/${encodeURIComponent(job.id)}`}>
          Change the configuration
        </a>
      </div>
      <Section
        session={session}
        title="Blockers"
        lead={`Each of these would make the ${task} fail. Fix them where they say, then check again.`}
        groups={groups.blockers}
        count={String(groups.counts.blockers)}
      />
      <Section
        session={session}
        title="Warnings"
        lead="These stop nothing. Starting means that you know about them; accepting one says by whom it was read."
        groups={groups.warnings}
        count={groups.counts.accepted > 0 ? `${warned}, ${groups.counts.accepted} accepted` : String(warned)}
      />
      {groups.others.length > 0 && (
        <section class="checks">
          <h2>{groups.counts.blockers + warned > 0 ? 'Everything else that was checked' : 'What was checked'}</h2>
          <div class="families">
            {groups.others.map((group) => (
              <Family key={group.family} group={group} />
            ))}
          </div>
        </section>
      )}
      {checks.length > 0 && !running && <SaveChecks job={job} />}
    </>
  );
}

interface VerdictProps {
  readonly job: JobView;
  readonly checks: readonly CheckResult[];
  readonly groups: CheckGroups;
  readonly running: boolean;
}

function Verdict({ job, checks, groups, running }: VerdictProps) {
  const { blockers, warnings, accepted, passed } = groups.counts;
  const figures = [
    passed > 0 ? `${passed} passed` : '',
    warnings > 0 ? plural(warnings, 'warning') : '',
    accepted > 0 ? `${plural(accepted, 'warning')} accepted` : '',
    blockers > 0 ? plural(blockers, 'blocker') : '',
  ].filter(Boolean);
  const tone = running ? 'active' : blockers > 0 || job.error !== null ? 'bad' : warnings > 0 ? 'warn' : 'good';
  const places = checks.filter(({ id, outcome }) => id === 'connect.place' && outcome === 'info');
  return (
    <div class={`verdict card edge-${tone}`}>
      <p class="summary" data-testid="summary">
        {verdictWords(job, checks.length, blockers, running)}
      </p>
      {job.error !== null && job.error.hint !== '' && !running && blockers === 0 && job.state !== 'blocked' && (
        <p class="hint">{job.error.hint}</p>
      )}
      <p class="muted">
        {describeSide(job, 'source')} → {describeSide(job, 'target')}
        {figures.length > 0 && `  ·  ${figures.join(', ')}`}
      </p>
      {places.map((place) => (
        <p key={checkKey(place)} class="place" data-testid="places">
          {place.found}
        </p>
      ))}
    </div>
  );
}

function verdictWords(job: JobView, total: number, blockers: number, running: boolean): string {
  const { looksAt, task } = kindWords(job);
  if (running) return `Looking at ${looksAt}: ${plural(total, 'check')} done so far. Nothing is being changed.`;
  if (blockers > 0) {
    return `The ${task} cannot start before ${plural(blockers, 'blocker')} ${blockers === 1 ? 'is' : 'are'} removed. Nothing has been changed on either side.`;
  }
  if (job.state === 'blocked' && total > 0) {
    return `No blocker is left. Check everything again, then the ${task} can start.`;
  }
  return job.error?.message ?? job.summary;
}

interface SectionProps {
  readonly session: JobSession;
  readonly title: string;
  readonly lead: string;
  readonly groups: readonly FamilyGroup[];
  readonly count: string;
}

function Section({ session, title, lead, groups, count }: SectionProps) {
  if (groups.length === 0) return null;
  return (
    <section class="checks">
      <h2>
        {title} <span class="count">{count}</span>
      </h2>
      <p class="muted">{lead}</p>
      {groups.map((group) => (
        <div key={group.family} class="check-group">
          <h3>{familyWords[group.family]}</h3>
          {group.checks.map((check) => (
            <CheckCard key={checkKey(check)} check={check} session={session} />
          ))}
        </div>
      ))}
    </section>
  );
}

function Family({ group }: { group: FamilyGroup }) {
  return (
    <div class="family card">
      <h3>{familyWords[group.family]}</h3>
      <ul>
        {group.checks.map((check) => (
          <li
            key={checkKey(check)}
            data-testid={`check-${check.id}`}
            data-outcome={check.outcome}
            data-side={check.side}
          >
            <Badge tone={outcomeTones[check.outcome]}>{outcomeWords[check.outcome]}</Badge>
            <p class="found">{check.found || check.title}</p>
            {check.found !== '' && <p class="muted">{check.title}</p>}
            {check.remedy !== '' && <CopyBlock text={check.remedy} what={`advice of ${check.id}`} />}
          </li>
        ))}
      </ul>
    </div>
  );
}

const forms = [
  { format: 'md', word: 'Markdown' },
  { format: 'csv', word: 'CSV' },
  { format: 'json', word: 'JSON' },
] as const;

/** All of it as a file, for a ticket or a colleague. */
function SaveChecks({ job }: { job: JobView }) {
  const problem = useSignal<ApiError | null>(null);
  const save = async (format: (typeof forms)[number]['format']): Promise<void> => {
    problem.value = null;
    try {
      saveFile(await api.checksFile(job.id, format), `pgsluice-${fileNameOf(job.name)}-checks.${format}`);
    } catch (error) {
      problem.value = toApiError(error);
    }
  };
  return (
    <>
      <div class="actions save-checks">
        <span class="muted">Save what was found as</span>
        {forms.map(({ format, word }) => (
          <button
            key={format}
            type="button"
            class="small"
            data-testid={`save-checks-${format}`}
            onClick={() => void save(format)}
          >
            {word}
          </button>
        ))}
      </div>
      {problem.value && <ProblemNote problem={problem.value} />}
    </>
  );
}
