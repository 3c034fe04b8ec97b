import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { formatRate } from '../format.ts';
import type { Sample } from '../model.ts';

type Chart = ComponentType<{ samples: readonly Sample[]; label: string }>;

/** Bytes a second over time. The chart's code is loaded when there is something to draw. */
export function Throughput({ samples }: { samples: readonly Sample[] }) {
  const [loaded, setLoaded] = useState<{ chart: Chart } | null>(null);
  const [failed, setFailed] = useState(false);
  const drawable = samples.length > 1;
  useEffect(() => {
    if (!drawable) return;
    let over = false;
    const load = async (): Promise<void> => {
      try {
        const { ThroughputChart } = await import('./throughput-chart.tsx');
        if (!over) setLoaded({ chart: ThroughputChart });
      } catch {
        // Offline, or the agent was upgraded under the page: the figures in the heading still stand.
        if (!over) setFailed(true);
      }
    };
    void load();
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
        {loaded ? (
          <loaded.chart samples={samples} label={`Throughput over time, ${text}`} />
        ) : (
          <p class="muted">
            {failed ? 'The chart could not be loaded. Reload the page to draw it.' : 'Loading the chart…'}
          </p>
        )}
      </div>
    </section>
  );
}
