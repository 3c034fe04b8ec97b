import type { CheckResult } from '../../../src/contract/check.ts';
import type { JobView } from '../../../src/contract/job.ts';
import { groupChecks, type CheckGroups, type FamilyGroup } from '../check-groups.ts';
import { CopyBlock } from '../components/copy-button.tsx';
import { Badge, ProblemNote } from '../components/parts.tsx';
import { describeSide } from '../endpoint.ts';
import { plural } from '../format.ts';
import type { JobSession } from '../job-session.ts';
import { goTo, jobHref } from '../router.ts';
import { familyWords, outcomeTones, outcomeWords } from '../words.ts';

/** Step 2: what was looked at, what stops the copy, and how to fix it. */
export function ValidatePage({ session, job }: { session: JobSession; job: JobView }) {
  const groups = groupChecks([...session.model.value.checks.values()]);
  const total = session.model.value.checks.size;
  const running = job.state === 'validating' || (job.state === 'draft' && session.acting.value !== null);
  const validatable = job.state === 'draft' || job.state === 'ready' || job.state === 'blocked';
  const acting = session.acting.value;
  const start = async (): Promise<void> => {
    if (await session.act('start')) goTo(jobHref(job.id, 'migrate'));
  };
  return (
    <>
      <Verdict job={job} groups={groups} total={total} running={running} />
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
            {acting === 'start' ? 'Starting…' : 'Start the migration'}
          </button>
        )}
        {job.startedAt !== null && (
          <a class="button primary" href={jobHref(job.id, 'migrate')}>
            Show the migration
          </a>
        )}
        {validatable && (
          <button
            type="button"
            data-testid="run-validation"
            disabled={acting !== null}
            onClick={() => void session.act('validate')}
          >
            {acting === 'validate' ? 'Asking the agent…' : 'Check again'}
          </button>
        )}
        <a class="button" href={`#/new/from/${encodeURIComponent(job.id)}`}>
          Change the configuration
        </a>
      </div>
      <Section
        title="Blockers"
        lead="Each of these would make the copy fail. Fix them where they say, then check again."
        groups={groups.blockers}
        count={groups.counts.blockers}
      />
      <Section
        title="Warnings"
        lead="These stop nothing. Starting means that you know about them."
        groups={groups.warnings}
        count={groups.counts.warnings}
      />
      {groups.others.length > 0 && (
        <section class="checks">
          <h2>
            {groups.counts.blockers + groups.counts.warnings > 0
              ? 'Everything else that was checked'
              : 'What was checked'}
          </h2>
          <div class="families">
            {groups.others.map((group) => (
              <Family key={group.family} group={group} />
            ))}
          </div>
        </section>
      )}
    </>
  );
}

function Verdict(props: { job: JobView; groups: CheckGroups; total: number; running: boolean }) {
  const { job, groups, total, running } = props;
  const { blockers, warnings, passed } = groups.counts;
  const figures = [
    passed > 0 ? `${passed} passed` : '',
    warnings > 0 ? plural(warnings, 'warning') : '',
    blockers > 0 ? plural(blockers, 'blocker') : '',
  ].filter(Boolean);
  const tone = running ? 'active' : blockers > 0 || job.error !== null ? 'bad' : warnings > 0 ? 'warn' : 'good';
  return (
    <div class={`verdict card edge-${tone}`}>
      <p class="summary" data-testid="summary">
        {running
          ? `Looking at both servers: ${plural(total, 'check')} done so far. Nothing is being changed.`
          : blockers > 0
            ? `The copy cannot start before ${plural(blockers, 'blocker')} ${blockers === 1 ? 'is' : 'are'} removed. Nothing has been changed on either side.`
            : (job.error?.message ?? job.summary)}
      </p>
      {job.error !== null && job.error.hint !== '' && !running && blockers === 0 && (
        <p class="hint">{job.error.hint}</p>
      )}
      <p class="muted">
        {describeSide(job, 'source')} → {describeSide(job, 'target')}
        {figures.length > 0 && `  ·  ${figures.join(', ')}`}
      </p>
    </div>
  );
}

interface SectionProps {
  readonly title: string;
  readonly lead: string;
  readonly groups: readonly FamilyGroup[];
  readonly count: number;
}

function Section({ title, lead, groups, count }: SectionProps) {
  if (count === 0) return null;
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
            <CheckCard key={check.id} check={check} />
          ))}
        </div>
      ))}
    </section>
  );
}

const sideWords: Record<CheckResult['side'], string> = {
  source: 'on the source',
  target: 'on the target',
  both: 'on both sides',
  agent: 'on the agent’s machine',
};

function CheckCard({ check }: { check: CheckResult }) {
  return (
    <article
      class={`check-card card edge-${outcomeTones[check.outcome]}`}
      data-testid={`check-${check.id}`}
      data-outcome={check.outcome}
    >
      <header>
        <Badge tone={outcomeTones[check.outcome]}>{outcomeWords[check.outcome]}</Badge>
        <span class="muted">{sideWords[check.side]}</span>
        <code class="code">{check.code ?? check.id}</code>
      </header>
      <p class="found">{check.found}</p>
      <p class="muted">Checked: {check.title}</p>
      {check.remedy !== '' && (
        <>
          <p class="remedy-label">What to do {check.side === 'both' ? '' : sideWords[check.side]}</p>
          <CopyBlock text={check.remedy} what={`remedy for ${check.id}`} />
        </>
      )}
    </article>
  );
}

function Family({ group }: { group: FamilyGroup }) {
  return (
    <div class="family card">
      <h3>{familyWords[group.family]}</h3>
      <ul>
        {group.checks.map((check) => (
          <li key={check.id} data-testid={`check-${check.id}`} data-outcome={check.outcome}>
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
