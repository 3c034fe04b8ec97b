import type { JobView } from '../../../src/contract/job.ts';
import { formatDuration } from '../format.ts';
import { isActive, type JobModel } from '../model.ts';
import { useNow } from '../use-now.ts';
import { Icon } from './icon.tsx';

/** Says since when nothing has moved, and what the job waits for. */
export function Waiting({ job, model }: { job: JobView; model: JobModel }) {
  const waiting = model.metric?.waiting ?? null;
  if (waiting === null || !isActive(job.state)) return null;
  return <WaitingNote what={waiting.what} since={waiting.since} />;
}

function WaitingNote({ what, since }: { what: string; since: string }) {
  const now = useNow(1000);
  const seconds = Math.max(0, (now - Date.parse(since)) / 1000);
  return (
    <div class="note tone-warn" data-testid="waiting">
      <p class="note-title">
        <Icon name="warn" />
        Nothing has moved for {formatDuration(Math.floor(seconds))}
      </p>
      <p>{`It waits for ${what.replace(/[.\s]+$/, '')}.`}</p>
    </div>
  );
}
