import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { formatRate } from '../format.ts';
import type { Sample } from '../model.ts';

type Chart = ComponentType<{ samples: readonly Sample[]; label: string }>;

/** Bytes a second over time. The chart's code is loaded when there is something to draw. */
export function Throughput({ samples }: { samples: readonly Sample[] }) {
  const [loaded, setLoaded] = useState<{ chart: Chart } | null>(null);
  const drawable = samples.length > 1;
  useEffect(() => {
    if (!drawable) return;
    let over = false;
    import('./throughput-chart.tsx').then(
      (module) => {
        if (!over) setLoaded({ chart: module.ThroughputChart });
      },
      () => {
        // Without the chart its figures still stand in the heading.
        if (!over) setLoaded(null);
      },
    );
    return () => {
      over = true;
    };
  }, [drawable]);
  if (!drawable) return null;
  const peak = samples.reduce((most, sample) => Math.max(most, sample.rate), 0);
  const mean = samples.reduce((sum, sample) => sum + sample.rate, 0) / samples.length;
  const text = `highest ${formatRate(peak)}, mean ${formatRate(mean)}`;
  return (
    <section class="panel card throughput" aria-labelledby="throughput-title">
      <div class="panel-head">
        <h2 id="throughput-title">Throughput</h2>
        <p class="muted">{text}</p>
      </div>
      <div class="chart-space">
        {loaded ? <loaded.chart samples={samples} label={`Throughput over time, ${text}`} /> : <p class="muted">Loading the chart…</p>}
      </div>
    </section>
  );
}
