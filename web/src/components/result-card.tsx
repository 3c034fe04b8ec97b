import type { JobView } from '../../../src/contract/job.ts';
import type { Difference } from '../../../src/contract/report.ts';
import { formatBytes, formatDuration, plural } from '../format.ts';
import { kindWords } from '../kind-words.ts';
import { lazy } from '../lazy.tsx';
import type { JobModel } from '../model.ts';
import { jobHref } from '../router.ts';
import type { Tone } from '../words.ts';
import { Icon, type IconName } from './icon.tsx';

const shownDifferences = 50;

interface Verdict {
  readonly tone: Tone;
  readonly icon: IconName;
  readonly title: string;
  readonly text: string;
}

interface ProofWords {
  readonly differs: { readonly title: string; readonly text: string };
  readonly equal: string;
}

const proofWords: Readonly<Record<JobView['kind'], ProofWords>> = {
  move: {
    differs: {
      title: 'Copied, but the target differs',
      text: 'between source and target. Read them before you use the target.',
    },
    equal: 'on both sides, and the catalogues were compared. Nothing differs.',
  },
  export: {
    differs: {
      title: 'Saved, but not all of it',
      text: 'between the source and what was read back. Keep the source, and read the report.',
    },
    equal: 'The archive was read back and holds every row that the source counted.',
  },
  import: {
    differs: {
      title: 'Loaded, but the target differs',
      text: 'between the archive and the target. Read them before you use the target.',
    },
    equal: 'on the target and in the archive’s manifest. Nothing differs.',
  },
};

const endWords: Readonly<Record<JobView['kind'], string>> = { move: 'Completed', export: 'Saved', import: 'Loaded' };

/** What the end of the job means, in one title and one sentence. */
export function verdictOf(job: JobView): Verdict {
  const { differences, kind } = job;
  const { incomplete, untouched } = kindWords(job);
  if (job.startedAt === null) {
    const cancelled = job.state === 'cancelled';
    return {
      tone: cancelled ? 'neutral' : 'bad',
      icon: cancelled ? 'skip' : 'cross',
      title: cancelled ? 'Cancelled' : 'Not begun',
      text: untouched,
    };
  }
  if (job.state === 'cancelled') return { tone: 'neutral', icon: 'skip', title: 'Cancelled', text: incomplete };
  if (job.state === 'failed') return { tone: 'bad', icon: 'cross', title: 'Not completed', text: incomplete };
  if (differences > 0) {
    const { title, text } = proofWords[kind].differs;
    return { tone: 'bad', icon: 'cross', title, text: `${plural(differences, 'difference')} ${text}` };
  }
  const end = endWords[kind];
  if (job.verified) {
    const how =
      job.options.verify === 'full' ? 'Every row was compared by checksum' : 'The rows of every table were counted';
    const { equal } = proofWords[kind];
    const kept = job.options.verify === 'full' ? ' Checksums for the import stand in its manifest.' : '';
    const text = kind === 'export' ? `${equal}${kept}` : `${how} ${equal}`;
    return { tone: 'good', icon: 'check', title: `${end} and verified`, text };
  }
  if (job.options.verify !== 'none') {
    return {
      tone: 'warn',
      icon: 'warn',
      title: `${end}, not wholly verified`,
      text: 'Nothing that was compared differs, but not everything could be compared: the report names what and why.',
    };
  }
  return {
    tone: 'warn',
    icon: 'warn',
    title: `${end}, not verified`,
    text: 'Nothing was compared, because the job was configured so.',
  };
}

const ResultFacts = lazy(async () => (await import('./result-facts.tsx')).ResultFacts);

export function ResultCard({ job, model }: { job: JobView; model: JobModel }) {
  const result = model.result;
  const differences = result?.differences ?? [];
  const verdict = verdictOf(job);
  const figures = result ?? { tables: job.totals.tablesDone, rows: job.totals.rows, bytes: job.totals.bytes };
  return (
    <section
      class={`result card edge-${verdict.tone}`}
      data-testid="result"
      data-status={job.state}
      data-verified={String(job.verified)}
      aria-labelledby="result-title"
    >
      <div class="result-head">
        <span class={`result-mark tone-${verdict.tone}`}>
          <Icon name={verdict.icon} />
        </span>
        <div>
          <h2 id="result-title">{verdict.title}</h2>
          <p>{verdict.text}</p>
          <p class="muted">
            {plural(figures.tables, 'table')}, {plural(figures.rows, 'row')}, {formatBytes(figures.bytes)}
            {result !== null && ` in ${formatDuration(result.seconds)}`}
          </p>
        </div>
        <a class="button" href={jobHref(job.id, 'report')} data-testid="report-link">
          Printable report
        </a>
      </div>
      {job.state === 'completed' && <ResultFacts job={job} />}
      {differences.length > 0 && <Differences differences={differences} />}
      {differences.length > shownDifferences && (
        <p class="muted">{`${plural(differences.length - shownDifferences, 'more difference')} in the report.`}</p>
      )}
    </section>
  );
}

const changeWords: Record<Difference['change'], string> = {
  missing: 'missing on the target',
  extra: 'only on the target',
  different: 'different',
};

export function Differences({ differences, all = false }: { differences: readonly Difference[]; all?: boolean }) {
  return (
    <ul class="differences">
      {(all ? differences : differences.slice(0, shownDifferences)).map((difference) => (
        <li key={`${difference.kind} ${difference.name}`}>
          <p>
            <span class="code">{difference.kind}</span> <strong>{difference.name}</strong>{' '}
            {changeWords[difference.change]}
          </p>
          {difference.change === 'different' && (
            <dl>
              <dt>Source</dt>
              <dd class="mono">{difference.source ?? 'nothing'}</dd>
              <dt>Target</dt>
              <dd class="mono">{difference.target ?? 'nothing'}</dd>
            </dl>
          )}
        </li>
      ))}
    </ul>
  );
}
