import { useEffect, useRef, useState } from 'preact/hooks';
import type { CutoverReport, CutoverStep } from '../../../src/contract/live.ts';
import { Icon } from '../components/icon.tsx';
import { formatMs } from '../format.ts';
import { timelineOf } from './timeline.ts';
import { stepWords } from './words.ts';

interface TimelineProps {
  readonly steps: readonly CutoverStep[];
  /** `now`: steps follow; `done`: the target has taken over; `undone`: it was rolled back. */
  readonly outcome: 'now' | 'done' | 'undone';
  readonly report: CutoverReport | null;
}

/** The cutover step by step, each with its milliseconds; while it runs, the step under way counts on. */
export function TimelineCard({ steps, outcome, report }: TimelineProps) {
  const running = outcome === 'now' ? (steps.find((step) => step.ms === null) ?? null) : null;
  const runningMs = useSince(running === null ? null : `${running.step} ${running.startedAt}`);
  const rows = timelineOf(steps, runningMs, outcome !== 'now');
  const titles = { now: 'Cutting over', done: 'Cutover', undone: 'The last cutover was undone' };
  return (
    <section
      class="panel card timeline-card"
      aria-labelledby="timeline-title"
      data-testid="timeline"
      data-outcome={outcome}
    >
      <div class="panel-head">
        <h2 id="timeline-title">{titles[outcome]}</h2>
        {report !== null && report.downtimeMs !== null && (
          <p data-testid="downtime">
            Writers waited <strong>{formatMs(report.downtimeMs)}</strong>
          </p>
        )}
      </div>
      <p class="visually-hidden" aria-live="polite">
        {running === null ? '' : stepWords[running.step]}
      </p>
      <ol class="timeline">
        {rows.map((row, index) => (
          <li key={`${index} ${row.step}`} data-testid={`step-${row.step}`} data-status={row.status}>
            <span class="timeline-mark">{row.status === 'done' && <Icon name="check" />}</span>
            <span class="timeline-word">
              {stepWords[row.step]}
              {row.detail !== '' && <small>{row.detail}</small>}
            </span>
            <span class="timeline-track" aria-hidden="true">
              <span style={{ left: `${row.from * 100}%`, width: `${row.share * 100}%` }} />
            </span>
            <span class="timeline-ms">
              {row.ms === null ? <span class="visually-hidden">to come</span> : formatMs(row.ms)}
            </span>
          </li>
        ))}
      </ol>
      {report !== null && report.attempts > 1 && <p class="muted">It took {report.attempts} attempts.</p>}
      {outcome === 'undone' && (
        <p class="muted">Writers on the source went on as if nothing had happened; the job follows on.</p>
      )}
    </section>
  );
}

const still = matchMedia('(prefers-reduced-motion: reduce)');

/** ms since `key` was first seen, by this machine's clock; 0 without a key. */
function useSince(key: string | null): number {
  const seen = useRef({ key, at: performance.now() });
  if (seen.current.key !== key) seen.current = { key, at: performance.now() };
  const [, tick] = useState(0);
  useEffect(() => {
    if (key === null) return;
    const timer = setInterval(() => tick((count) => count + 1), still.matches ? 1000 : 100);
    return () => clearInterval(timer);
  }, [key]);
  return key === null ? 0 : Math.round(performance.now() - seen.current.at);
}
