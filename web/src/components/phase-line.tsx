import type { JobView } from '../../../src/contract/job.ts';
import { formatDuration, plural } from '../format.ts';
import { isActive, type JobModel, type PhaseProgress } from '../model.ts';
import { phasesOf } from '../words.ts';
import { Icon } from './icon.tsx';

type Status = 'waiting' | 'now' | 'done' | 'stopped' | 'left-out';

function statusOf(
  job: JobView,
  progress: PhaseProgress | undefined,
  index: number,
  current: number,
  last: boolean,
): Status {
  if (last && job.options.verify === 'none') return 'left-out';
  if (job.state === 'completed') return 'done';
  if (progress?.status === 'finished') return 'done';
  if (progress === undefined && index > current) return 'waiting';
  if (index < current && progress === undefined) return 'done';
  return isWorking(job.state) ? 'now' : 'stopped';
}

function isWorking(state: JobView['state']): boolean {
  return isActive(state) && state !== 'validating';
}

const statusWords: Record<Status, string> = {
  waiting: 'to come',
  now: 'now',
  done: 'done',
  stopped: 'stopped here',
  'left-out': 'left out',
};

/** The phases in their order; the one under way says what it does. Phases overlap: indexes start while rows are copied. */
export function PhaseLine({ job, model }: { job: JobView; model: JobModel }) {
  const phases = phasesOf(job);
  const current = phases.findIndex((entry) => entry.phase === job.phase);
  const building = [...model.indexes.values()].filter((index) => index.state === 'building');
  const built = [...model.indexes.values()].filter((index) => index.state === 'built').length;
  const active = isWorking(job.state);
  const entries = phases.map((entry, index) => {
    const progress = model.phases.get(entry.phase);
    return { ...entry, progress, status: statusOf(job, progress, index, current, index === phases.length - 1) };
  });
  const now = entries.filter((entry) => entry.status === 'now');
  const detail = now.findLast((entry) => entry.progress?.detail)?.progress?.detail;
  return (
    <div class="phases">
      <ol class="phase-line" aria-label="Phases">
        {entries.map(({ phase, word, status, progress }) => (
          <li
            key={phase}
            class={`phase phase-${status}`}
            data-testid={`phase-${phase}`}
            data-status={status}
            aria-current={status === 'now' ? 'step' : undefined}
          >
            <span class="phase-mark">{status === 'done' && <Icon name="check" />}</span>
            <span class="phase-word">{word}</span>
            <span class="phase-time">
              {progress?.seconds != null ? formatDuration(progress.seconds) : statusWords[status]}
            </span>
          </li>
        ))}
      </ol>
      {active && now.length > 0 && (
        <p class="phase-detail muted">
          {`Now ${now.map((entry) => entry.does).join(' and ')}`}
          {detail !== undefined ? `: ${detail.replace(/[.\s]+$/, '')}` : ''}
          {building.length > 0 &&
            `. Building ${plural(building.length, 'index', 'indexes')}: ${building
              .slice(0, 3)
              .map((index) => index.name)
              .join(', ')}${building.length > 3 ? ' …' : ''}`}
          {built > 0 && `. ${plural(built, 'index', 'indexes')} built`}
        </p>
      )}
    </div>
  );
}
