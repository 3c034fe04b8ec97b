import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { formatClock } from '../format.ts';
import { paletteVersion } from '../theme.ts';

export interface Series {
  readonly values: readonly number[];
  /** Name of a colour of the style sheet. */
  readonly colour: string;
  /** Lengths of dash and gap in px, so that lines differ without their colour. */
  readonly dash?: readonly number[];
  /** Colour of the area below. */
  readonly fill?: string;
  readonly axis: 'left' | 'right';
}

export interface Axis {
  readonly format: (value: number) => string;
  readonly splits: (most: number) => number[];
  /** Smallest top of the scale. */
  readonly least: number;
  /** Room for its labels in px. */
  readonly size: number;
}

interface SeriesChartProps {
  /** Seconds since the epoch. */
  readonly times: readonly number[];
  readonly series: readonly Series[];
  readonly left: Axis;
  readonly right?: Axis;
  readonly label: string;
}

const height = 150;
const shortestWindow = 60;

/** Lines over the last minutes, with one scale or two. */
export function SeriesChart({ times, series, left, right, label }: SeriesChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const palette = paletteVersion.value;

  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const chart = new uPlot(chartOptions(element, series, left, right), [[], ...series.map(() => [])], element);
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
    plot.current?.setData(withGaps(times, series));
  }, [times, palette]);

  return <div class="chart" ref={box} role="img" aria-label={label} />;
}

/** Seconds without a measurement after which the line breaks off: nobody knows what was between. */
const gap = 20;

function withGaps(times: readonly number[], series: readonly Series[]): uPlot.AlignedData {
  const breaks = new Set(times.flatMap((time, index) => (time - (times[index - 1] ?? time) > gap ? [index] : [])));
  const spread = <T,>(values: readonly T[], between: (index: number) => T): T[] =>
    values.flatMap((value, index) => (breaks.has(index) ? [between(index), value] : [value]));
  return [
    spread(times, (index) => (times[index] ?? 0) - gap / 2),
    ...series.map(({ values }) => spread<number | null>(values, () => null)),
  ];
}

/** Colours come from the style sheet, so that the canvas follows light and dark. */
function chartOptions(
  element: HTMLElement,
  series: readonly Series[],
  left: Axis,
  right: Axis | undefined,
): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const base = { stroke: colour('--muted'), font: `12px ${style.fontFamily}`, ticks: { show: false } };
  const scaleOf = ({ least }: Axis, headroom: number): uPlot.Scale => ({
    range: (_chart, _min, max) => [0, Math.max(max, least) * headroom],
  });
  const axisOf = ({ size, splits, format }: Axis): uPlot.Axis => ({
    ...base,
    size,
    splits: (_chart, _axis, _min, max) => splits(max),
    values: (_chart, values) => values.map(format),
  });
  return {
    width: element.clientWidth,
    height,
    padding: [8, right === undefined ? 8 : 0, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: {
      // A line does not jump from edge to edge while there are only a few points.
      x: { range: (_chart, min, max) => [Math.min(min, max - shortestWindow), max] },
      // Bytes and seconds rise together: with the same headroom one line would hide the other.
      left: scaleOf(left, 1.15),
      ...(right === undefined ? {} : { right: scaleOf(right, 1.6) }),
    },
    axes: [
      {
        ...base,
        incrs: [5, 10, 15, 30, 60, 120, 300],
        size: 30,
        space: 80,
        grid: { show: false },
        values: (_chart, values) => values.map((value) => formatClock(value * 1000)),
      },
      { ...axisOf(left), scale: 'left', grid: { stroke: colour('--line'), width: 1 } },
      ...(right === undefined ? [] : [{ ...axisOf(right), scale: 'right', side: 1, grid: { show: false } }]),
    ],
    series: [
      {},
      ...series.map(({ colour: name, dash, fill, axis }) => ({
        scale: axis,
        stroke: colour(name),
        width: 2,
        points: { show: false },
        ...(dash === undefined ? {} : { dash: [...dash] }),
        ...(fill === undefined ? {} : { fill: colour(fill) }),
      })),
    ],
  };
}

/** At most six lines at round binary sizes. */
export function binarySplits(most: number): number[] {
  return stepped(most, 2 ** Math.ceil(Math.log2(Math.max(1, most) / 5)));
}

/** At most six lines at 1, 2 or 5 times a power of ten. */
export function decimalSplits(most: number): number[] {
  const rough = Math.max(most, 1e-9) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= rough) ?? 10;
  return stepped(most, factor * power);
}

function stepped(most: number, step: number): number[] {
  const count = Math.floor(most / step + 1e-9);
  return Array.from({ length: count + 1 }, (_, index) => index * step);
}
