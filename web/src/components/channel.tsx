import type { JobState } from '../../../src/contract/event.ts';
import type { LiveProgress } from '../../../src/contract/live.ts';
import type { JobView } from '../../../src/contract/job.ts';
import { describeSide } from '../endpoint.ts';
import { formatBehind, formatPercent } from '../format.ts';
import { kindWords } from '../kind-words.ts';
import { handedOver, isActive } from '../model.ts';
import { isLive, type Tone } from '../words.ts';

function sourceWords(job: JobView, live: LiveProgress | null): string {
  if (job.kind === 'import') return 'Only read';
  if (!isLive(job)) return 'Only read: safe to use';
  if (handedOver(live)) return 'Replaced by the target: read-only';
  return job.state === 'cutting_over' ? 'Writes wait; reading goes on' : 'In use: read and write as always';
}

const targetWords: Record<JobState, string> = {
  draft: 'Untouched',
  validating: 'Untouched',
  ready: 'Untouched',
  blocked: 'Untouched',
  running: 'Being filled: do not use yet',
  following: 'Follows the source: do not write',
  cutting_over: 'About to take over',
  paused: 'Half filled: do not use',
  verifying: 'Being compared: only read it',
  completed: 'Filled',
  failed: 'Incomplete: do not use',
  cancelled: 'Incomplete: do not use',
};

/** What has been written of an archive; it has its name only when it is whole. */
const archiveWords: Partial<Record<JobState, string>> = {
  running: 'Being written',
  verifying: 'Written: being read back',
  paused: 'Half written',
  completed: 'Whole',
  failed: 'There is none',
  cancelled: 'There is none',
};

const tones: Partial<Record<JobState, Tone>> = {
  completed: 'good',
  failed: 'bad',
  cancelled: 'neutral',
  paused: 'warn',
};

function targetWordsOf(job: JobView, live: LiveProgress | null): string {
  if (job.kind === 'export') return (job.startedAt === null ? undefined : archiveWords[job.state]) ?? 'Not written yet';
  if (handedOver(live)) return job.state === 'completed' ? 'In use' : 'Has taken over: in use';
  if (job.state === 'paused' && live !== null && job.phase === 'follow') return 'Behind the source: do not use';
  return targetWords[job.startedAt === null ? 'draft' : job.state];
}

const proofWords: Record<JobView['kind'], { readonly equal: string; readonly differs: string }> = {
  move: { equal: 'Equal to the source, proven', differs: 'Differs from the source' },
  export: { equal: 'Whole, read back', differs: 'Does not hold all of the source' },
  import: { equal: 'Equal to the archive, proven', differs: 'Differs from the archive' },
};

/** Source, target and the water between them: how much of the database has gone across. */
export function Channel({ job, fraction, live }: { job: JobView; fraction: number; live: LiveProgress | null }) {
  const following =
    job.state === 'following' ||
    job.state === 'cutting_over' ||
    (job.state === 'paused' && job.phase === 'follow' && live !== null);
  const share = job.state === 'completed' || following ? 1 : fraction;
  const moving = isActive(job.state) && job.state !== 'validating';
  const { done } = kindWords(job);
  const differs = job.state === 'completed' && job.differences > 0;
  return (
    <div
      class={`channel tone-${differs ? 'bad' : (tones[job.state] ?? 'active')}`}
      data-moving={moving ? '' : undefined}
    >
      <div class="basin">
        <span class="basin-role">{job.source === null ? 'Archive' : 'Source'}</span>
        <span class="basin-name">{describeSide(job, 'source')}</span>
        <span class="basin-note">{sourceWords(job, live)}</span>
      </div>
      <div class="channel-middle">
        <span class="channel-share">
          {following && live !== null ? formatBehind(live.lagSeconds) : formatPercent(share)}
        </span>
        <div
          class="channel-bar"
          role="progressbar"
          aria-label={`Share of the database that is ${done}`}
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={Math.floor(share * 100)}
          aria-valuetext={`${formatPercent(share)} ${done}`}
        >
          <div class="channel-fill" style={{ transform: `scaleX(${share})` }} />
        </div>
      </div>
      <div class="basin basin-target">
        <span class="basin-role">{job.target === null ? 'Archive' : 'Target'}</span>
        <span class="basin-name">{describeSide(job, 'target')}</span>
        <span class="basin-note">
          {differs
            ? proofWords[job.kind].differs
            : job.verified
              ? proofWords[job.kind].equal
              : targetWordsOf(job, live)}
        </span>
      </div>
    </div>
  );
}
