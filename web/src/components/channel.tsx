import type { JobState } from '../../../src/contract/event.ts';
import type { JobView } from '../../../src/contract/job.ts';
import { describeEndpoint } from '../endpoint.ts';
import { formatPercent } from '../format.ts';
import type { Tone } from '../words.ts';

const sourceWords = 'Only read: safe to use';

const targetWords: Record<JobState, string> = {
  draft: 'Untouched',
  validating: 'Untouched',
  ready: 'Untouched',
  blocked: 'Untouched',
  running: 'Being filled: do not use yet',
  paused: 'Half filled: do not use',
  verifying: 'Being compared: only read it',
  completed: 'Filled',
  failed: 'Incomplete: do not use',
  cancelled: 'Incomplete: do not use',
};

const tones: Partial<Record<JobState, Tone>> = {
  completed: 'good',
  failed: 'bad',
  cancelled: 'neutral',
  paused: 'warn',
};

/** Source, target and the water between them: how much of the database has gone across. */
export function Channel({ job, fraction }: { job: JobView; fraction: number }) {
  const share = job.state === 'completed' ? 1 : fraction;
  const untouched = job.startedAt === null;
  const moving = job.state === 'running' || job.state === 'verifying';
  const differs = job.state === 'completed' && job.differences > 0;
  return (
    <div
      class={`channel tone-${differs ? 'bad' : (tones[job.state] ?? 'active')}`}
      data-moving={moving ? '' : undefined}
    >
      <div class="basin">
        <span class="basin-role">Source</span>
        <span class="basin-name">{describeEndpoint(job.source)}</span>
        <span class="basin-note">{sourceWords}</span>
      </div>
      <div class="channel-middle">
        <span class="channel-share">{formatPercent(share)}</span>
        <div
          class="channel-bar"
          role="progressbar"
          aria-label="Share of the database that is copied"
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={Math.floor(share * 100)}
          aria-valuetext={`${formatPercent(share)} copied`}
        >
          <div class="channel-fill" style={{ transform: `scaleX(${share})` }} />
        </div>
      </div>
      <div class="basin basin-target">
        <span class="basin-role">Target</span>
        <span class="basin-name">{describeEndpoint(job.target)}</span>
        <span class="basin-note">
          {differs
            ? 'Differs from the source'
            : job.verified
              ? 'Equal to the source, proven'
              : targetWords[untouched ? 'draft' : job.state]}
        </span>
      </div>
    </div>
  );
}
