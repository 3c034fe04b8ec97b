import { useSignal } from '@preact/signals';
import type { JobState } from '../../../src/contract/event.ts';
import type { JobAction, JobView } from '../../../src/contract/job.ts';
import type { JobSession } from '../job-session.ts';
import { kindWords } from '../kind-words.ts';
import { handedOver, liveOf } from '../model.ts';
import { isLive } from '../words.ts';
import { Confirm } from './confirm.tsx';

interface Offer {
  readonly action: JobAction;
  readonly word: (job: JobView) => string;
  readonly busy: string;
  readonly main?: boolean;
}

const start: Offer = {
  action: 'start',
  word: (job) => `Start the ${kindWords(job).task}`,
  busy: 'Starting…',
  main: true,
};
const pause: Offer = { action: 'pause', word: () => 'Pause', busy: 'Pausing…' };
const resume: Offer = { action: 'resume', word: () => 'Resume', busy: 'Resuming…', main: true };
const retry: Offer = {
  action: 'retry',
  word: (job) => (job.snapshotAlive ? 'Retry the failed tables' : 'Retry from the start'),
  busy: 'Starting again…',
  main: true,
};

/** What the agent accepts in each state but the cutover, which has its place beside what it depends on. */
const offers: Partial<Record<JobState, readonly Offer[]>> = {
  ready: [start],
  running: [pause],
  following: [pause],
  paused: [resume],
  failed: [retry],
};
const cancellable: ReadonlySet<JobState> = new Set([
  'validating',
  'running',
  'following',
  'cutting_over',
  'verifying',
  'paused',
]);

/** What a person can do to the job in its state. Cancel asks once, because it cannot be undone. */
export function Actions({ session, job }: { session: JobSession; job: JobView }) {
  const asking = useSignal(false);
  const acting = session.acting.value;
  // Past a cutover the source has no users any more who would be spared by it.
  const comparesCopy = job.state === 'verifying' && job.kind === 'move' && job.method === 'copy';
  const offered = comparesCopy ? [pause] : (offers[job.state] ?? []);
  // Once the target has taken over there is no way back to offer.
  const canCancel = cancellable.has(job.state) && !handedOver(liveOf(session.model.value));
  if (offered.length === 0 && !canCancel) return null;
  const { task, cancelled } = kindWords(job);
  return (
    <div class="actions">
      {offered.map(({ action, word, busy, main }) => (
        <button
          key={action}
          type="button"
          class={main ? 'primary' : ''}
          data-testid={`action-${action}`}
          disabled={acting !== null}
          onClick={() => void session.act(action)}
        >
          {acting === action ? busy : word(job)}
        </button>
      ))}
      {canCancel && (
        <button
          type="button"
          class="danger"
          data-testid="action-cancel"
          disabled={acting !== null}
          onClick={() => (asking.value = true)}
        >
          {acting === 'cancel' ? 'Cancelling…' : 'Cancel…'}
        </button>
      )}
      {asking.value && (
        <Confirm
          title={`Cancel this ${task}?`}
          yes={`Cancel the ${task}`}
          no="Keep it going"
          testId="confirm-cancel"
          onYes={() => {
            asking.value = false;
            void session.act('cancel');
          }}
          onNo={() => (asking.value = false)}
        >
          {isLive(job)
            ? 'The source goes on as before; the replication slot and the publication of this job are dropped from it. The target keeps what it has and falls behind.'
            : cancelled}{' '}
          A cancelled job cannot be resumed.
        </Confirm>
      )}
    </div>
  );
}
