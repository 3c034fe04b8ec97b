import type { Machine } from './machine.ts';

export interface ChartBar {
  readonly name: string;
  /** Seconds. */
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

export interface ChartWorkload {
  readonly workload: string;
  readonly bars: readonly ChartBar[];
  /** Seconds that the servers alone need; null where that is not known. */
  readonly limit: number | null;
}

const WIDTH = 760;
const LEFT = 150;
const RIGHT = 140;
const BAR = 14;
const GAP = 16;
const HEAD = 46;
const FOOT = 40;
/** Readable on white and on a dark page alike. */
const COLOURS: Readonly<Record<string, string>> = {
  pgsluice: '#0b7a75',
  'dump-restore': '#8a8f98',
  pgcopydb: '#c08a2d',
  'pgcopydb-binary': '#d9b36c',
};
const OTHER = '#8a8f98';
const INK = '#6b7280';

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
const px = (value: number): string => value.toFixed(1);

/** Medians as bars, each workload on a scale of its own, with smallest and largest, and the servers' own need as a line. Pure. */
export function drawChart(machine: Machine, workloads: readonly ChartWorkload[], at: Date = new Date()): string {
  const parts: string[] = [];
  const text = (x: number, y: number, words: string, more = ''): void => {
    parts.push(`<text x="${px(x)}" y="${px(y)}"${more}>${escaped(words)}</text>`);
  };
  text(0, 16, 'Wall time of a whole clone, seconds (less is better)', ' font-size="15" font-weight="600"');
  text(0, 34, 'Medians with smallest and largest; the dashed line is what the two servers need by themselves.');
  let y = HEAD;
  for (const { workload, bars, limit } of workloads) {
    const most = Math.max(...bars.map((bar) => bar.max), limit ?? 0, 0.001);
    const scale = (WIDTH - LEFT - RIGHT) / most;
    text(0, y + BAR - 2, workload, ' font-weight="600"');
    const top = y;
    for (const { name, min, median, max } of bars) {
      parts.push(
        `<rect x="${LEFT}" y="${px(y)}" width="${px(median * scale)}" height="${BAR - 3}" rx="2" fill="${COLOURS[name] ?? OTHER}"/>`,
        `<path d="M${px(LEFT + min * scale)} ${px(y + (BAR - 3) / 2)}H${px(LEFT + max * scale)}" stroke="${INK}" stroke-width="1"/>`,
      );
      text(LEFT + max * scale + 6, y + BAR - 4, `${median.toFixed(1)}  ${name}`);
      y += BAR;
    }
    if (limit !== null) {
      const x = px(LEFT + limit * scale);
      parts.push(`<path d="M${x} ${px(top - 2)}V${px(y)}" stroke="${INK}" stroke-width="1.5" stroke-dasharray="3 2"/>`);
    }
    y += GAP;
  }
  const version = /PostgreSQL [\d.]+/.exec(machine.servers)?.[0] ?? machine.servers;
  text(
    0,
    y + 10,
    `${machine.cpu}, ${machine.cores} cores, ${version}, Node ${machine.node}; ${at.toISOString().slice(0, 10)}`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + FOOT - 20}" font-family="system-ui, sans-serif" font-size="11" fill="${INK}" role="img" aria-label="Wall time of a whole clone by workload and tool">`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}
