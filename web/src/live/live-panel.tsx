import { useEffect, useState } from 'preact/hooks';
import type { CutoverReport } from '../../../src/contract/live.ts';
import type { JobView } from '../../../src/contract/job.ts';
import { api } from '../api.ts';
import type { JobSession } from '../job-session.ts';
import { handedOver, liveOf } from '../model.ts';
import { AppliedCard, LagCard } from './charts.tsx';
import { CutoverCard } from './cutover-card.tsx';
// oxlint-disable-next-line import/no-unassigned-import -- the style sheet of this panel is loaded with it
import './live.css';
import { SlotCard } from './slot-card.tsx';
import { TimelineCard } from './timeline-card.tsx';

/** Everything that only a job has that follows its source: conditions, cutover, lag, changes, and what the source keeps. */
export function LivePanel({ session, job }: { session: JobSession; job: JobView }) {
  const model = session.model.value;
  const live = liveOf(model);
  const report = useCutoverReport(job);
  const over = handedOver(live) || report !== null;
  const steps = report?.steps ?? live?.cutover ?? [];
  const timeline = steps.length > 0 && (
    <TimelineCard
      steps={steps}
      outcome={job.state === 'cutting_over' ? 'now' : over ? 'done' : 'undone'}
      report={report}
    />
  );
  if (live === null || over || job.state === 'completed')
    return timeline === false ? null : <div class="live">{timeline}</div>;
  const follows =
    job.state === 'following' ||
    job.state === 'cutting_over' ||
    (job.state === 'paused' && model.liveSamples.length > 0);
  return (
    <div class="live">
      {job.state === 'cutting_over' && timeline}
      <div class="live-grid">
        <div class="live-column">
          {follows && job.state !== 'cutting_over' && <CutoverCard session={session} job={job} live={live} />}
          {follows && job.state !== 'cutting_over' && timeline}
          {live.slot !== null && <SlotCard slot={live.slot} options={job.options} />}
        </div>
        {follows && (
          <div class="live-column">
            <LagCard live={live} samples={model.liveSamples} />
            <AppliedCard live={live} samples={model.liveSamples} />
          </div>
        )}
      </div>
    </div>
  );
}

/** How the cutover went, once the job is over: only the agent has measured what writers noticed. */
function useCutoverReport(job: JobView): CutoverReport | null {
  const [report, setReport] = useState<CutoverReport | null>(null);
  const over = job.state === 'completed';
  useEffect(() => {
    if (!over) return;
    let gone = false;
    const load = async (): Promise<void> => {
      try {
        const { cutover } = await api.report(job.id);
        if (!gone) setReport(cutover);
      } catch {
        // The report page says what is wrong with it; the last measured steps stand here meanwhile.
      }
    };
    void load();
    return () => {
      gone = true;
    };
  }, [over, job.id]);
  return report;
}
