import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { formatClock, formatRate } from '../format.ts';
import type { Sample } from '../model.ts';
import { paletteVersion } from '../theme.ts';

const height = 140;

export function ThroughputChart({ samples, label }: { samples: readonly Sample[]; label: string }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const palette = paletteVersion.value;

  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const chart = new uPlot(chartOptions(element), [[], []], element);
    plot.current = chart;
    const observer = new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.destroy();
      plot.current = null;
    };
  }, [palette]);

  useEffect(() => {
    plot.current?.setData([samples.map((sample) => sample.at), samples.map((sample) => sample.rate)]);
  }, [samples, palette]);

  return <div class="chart" ref={box} role="img" aria-label={label} />;
}

/** Colours come from the style sheet, so that the canvas follows light and dark. */
function chartOptions(element: HTMLElement): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const font = `12px ${style.fontFamily}`;
  const axis = {
    stroke: colour('--muted'),
    font,
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { show: false },
  };
  return {
    width: element.clientWidth,
    height,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: (_chart, _min, max) => [0, Math.max(max, 1) * 1.1] } },
    axes: [
      {
        ...axis,
        // Nothing finer than a second: the labels would repeat.
        incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400],
        size: 30,
        space: 70,
        grid: { show: false },
        values: (_chart, values) => values.map((value) => formatClock(value * 1000)),
      },
      { ...axis, size: 78, splits: binarySplits, values: (_chart, values) => values.map((value) => formatRate(value)) },
    ],
    series: [{}, { stroke: colour('--accent'), fill: colour('--accent-soft'), width: 2, points: { show: false } }],
  };
}

/** At most five lines at round binary sizes. */
function binarySplits(_chart: uPlot, _axis: number, min: number, max: number): number[] {
  let step = 2 ** Math.ceil(Math.log2(Math.max(1, max - min) / 4));
  if ((max - min) / step < 2) step /= 2;
  const splits: number[] = [];
  for (let value = 0; value <= max; value += step) splits.push(value);
  return splits;
}
