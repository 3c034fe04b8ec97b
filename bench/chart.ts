import type { Machine } from './machine.ts';
import type { Group, Verdict } from './targets.ts';

/** Where and when the figures were made. */
export interface ChartOrigin {
  readonly machine: Machine;
  /** Versions of all that took part. */
  readonly tools: readonly string[];
  readonly at: Date;
}

const WIDTH = 840;
const LEFT = 248;
const RIGHT = 200;
const EDGE = 20;
const ROW = 24;
const BAR = 13;
const HEAD = 64;
/** Ratios beyond it are cut: what is far above 1 needs no exact length. */
const WIDEST = 2;

const headings: Readonly<Partial<Record<Group, string>>> = {
  clone: 'Whole clone: wall time / that of the best peer',
  path: "Copy path: agent's CPU time / that of pg-copy-streams",
  live: "Live apply: wall time / that of PostgreSQL's own subscription",
  verify: 'Full verification: its time / that of the copy itself',
};

/** A card of its own colours is readable on any page, and follows the reader's theme where that is told. */
const STYLE = `.card{fill:#fff;stroke:#d0d7de}.ink{fill:#1f2328}.dim{fill:#59636e}.grid{stroke:#d8dee4}.even{stroke:#59636e}
.yes{fill:#0b7a75}.no{fill:#b4540a}.none{fill:#8a8f98}.reach{stroke:#1f2328}.want{stroke:#c2185b}
@media (prefers-color-scheme: dark){.card{fill:#0d1117;stroke:#3d444d}.ink{fill:#f0f6fc}.dim{fill:#9198a1}.grid{stroke:#2a313c}.even{stroke:#9198a1}
.yes{fill:#2aa198}.no{fill:#d9822b}.reach{stroke:#f0f6fc}.want{stroke:#ff6fa3}}`;

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
const px = (value: number): string => value.toFixed(1);

/** Ours by the other's, of everything that was measured: median as a bar, smallest and largest as a whisker, the target as a mark. Pure. */
export function drawChart(verdicts: readonly Verdict[], { machine, tools, at }: ChartOrigin): string {
  const rows = verdicts.filter(({ group, measured }) => measured !== null && headings[group] !== undefined);
  const most = Math.max(1.1, ...rows.map(({ measured }) => measured?.max ?? 0));
  const end = Math.min(WIDEST, Math.ceil(most * 10) / 10);
  const scale = (WIDTH - LEFT - RIGHT - EDGE) / end;
  const x = (ratio: number): number => LEFT + Math.min(ratio, end) * scale;
  const parts: string[] = [];
  const text = (at_: number, y: number, words: string, kind: string, more = ''): void => {
    parts.push(`<text x="${px(at_)}" y="${px(y)}" class="${kind}"${more}>${escaped(words)}</text>`);
  };
  text(EDGE, 30, 'pgsluice / its peers: shorter is better', 'ink', ' font-size="17" font-weight="600"');
  legend(parts, text);
  let y = HEAD;
  const tops: [number, number][] = [];
  for (const group of Object.keys(headings) as Group[]) {
    const list = rows.filter((row) => row.group === group);
    if (list.length === 0) continue;
    y += 18;
    text(EDGE, y, headings[group] ?? '', 'ink', ' font-weight="600"');
    y += 10;
    tops.push([y, y + list.length * ROW]);
    for (const row of list) {
      drawRow(row, y, x, end, parts, text);
      y += ROW;
    }
    y += 16;
  }
  const grid = tops.flatMap(([from, to]) =>
    Array.from({ length: Math.floor(end / 0.25 + 1e-9) + 1 }, (_, at_) => at_ * 0.25).map((ratio) => {
      const even = ratio === 1;
      return `<path d="M${px(x(ratio))} ${from}V${to}" class="${even ? 'even' : 'grid'}"${even ? ' stroke-dasharray="3 3"' : ''}/>`;
    }),
  );
  for (const ratio of Array.from({ length: Math.floor(end / 0.5 + 1e-9) + 1 }, (_, at_) => at_ * 0.5)) {
    text(x(ratio), y, ratio === 1 ? '1 = the same' : String(ratio), 'dim', ' text-anchor="middle" font-size="11"');
  }
  y += 26;
  for (const line of originLines(machine, tools, at, rows)) {
    text(EDGE, y, line, 'dim', ' font-size="11"');
    y += 15;
  }
  const height = y + 6;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="system-ui, -apple-system, 'Segoe UI', sans-serif" font-size="13" role="img" aria-label="pgsluice by its peers: ratio, smallest, largest and target of every workload">`,
    `<style>${STYLE}</style>`,
    `<rect x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="8" class="card"/>`,
    ...grid,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

type Text = (x: number, y: number, words: string, kind: string, more?: string) => void;

function legend(parts: string[], text: Text): void {
  parts.push(
    `<rect x="${EDGE}" y="43" width="26" height="11" rx="2" class="yes"/>`,
    `<rect x="${EDGE + 132}" y="43" width="26" height="11" rx="2" class="no"/>`,
    `<path d="M${EDGE + 252} 41V56" class="want" stroke-width="3"/>`,
    `<path d="M${EDGE + 320} 48.5H${EDGE + 346}M${EDGE + 320} 45V52M${EDGE + 346} 45V52" class="reach" fill="none" stroke-width="1.3"/>`,
  );
  const more = ' font-size="12"';
  text(EDGE + 32, 53, 'target reached', 'dim', more);
  text(EDGE + 164, 53, 'not reached', 'dim', more);
  text(EDGE + 260, 53, 'target', 'dim', more);
  text(EDGE + 352, 53, 'smallest and largest of the rounds; bars are medians', 'dim', more);
}

function drawRow(
  row: Verdict,
  y: number,
  x: (ratio: number) => number,
  end: number,
  parts: string[],
  text: Text,
): void {
  const { measured, wanted, reached } = row;
  if (measured === null) return;
  const { min, median, max } = measured;
  const middle = y + ROW / 2;
  const kind = reached === 'yes' || reached === 'no' ? reached : 'none';
  text(LEFT - 10, middle + 4.5, row.workload.replace(/^(verification|live), /, ''), 'ink', ' text-anchor="end"');
  parts.push(
    `<rect x="${LEFT}" y="${px(middle - BAR / 2)}" width="${px(x(median) - LEFT)}" height="${BAR}" rx="2" class="${kind}"/>`,
    `<path d="M${px(x(min))} ${px(middle)}H${px(x(max))}M${px(x(min))} ${px(middle - 4)}v8M${px(x(max))} ${px(middle - 4)}v8" class="reach" fill="none" stroke-width="1.3"/>`,
  );
  if (wanted !== null) {
    parts.push(`<path d="M${px(x(wanted))} ${px(middle - 9)}v18" class="want" stroke-width="3"/>`);
  }
  const by = row.group === 'clone' ? ` ${row.against.replace(/, best of.*/, '')}` : '';
  const cut = max > end ? ' →' : '';
  text(x(end) + 12, middle + 4.5, `${median.toFixed(2)}${cut}`, 'ink', ' font-weight="600"');
  text(x(end) + 68, middle + 4.5, by.trim(), 'dim', ' font-size="12"');
}

function originLines(machine: Machine, tools: readonly string[], at: Date, rows: readonly Verdict[]): string[] {
  const short = (version: string): string =>
    version.replace(/^(\S+) (?:version |\(PostgreSQL\) )/, '$1 ').replace(/ \(.*/, '');
  const servers = /PostgreSQL [\d.]+/.exec(machine.servers)?.[0] ?? machine.servers;
  const memory = `${Math.round(machine.memoryBytes / 1e9)} GB`;
  const scales = [...new Set(rows.map(({ scale }) => scale))].join(', ');
  const rounds = rows.map((row) => row.rounds);
  const few =
    Math.min(...rounds) === Math.max(...rounds)
      ? `${rounds[0] ?? 0}`
      : `${Math.min(...rounds)} to ${Math.max(...rounds)}`;
  return [
    `${at.toISOString().slice(0, 10)}; ${machine.cpu}, ${machine.cores} cores, ${memory}, ${machine.system}; servers, agent and peers on it together`,
    `${servers}, Node ${machine.node.replace(/^v/, '')}; ${tools.map(short).join(', ')}`,
    `scale ${scales}; ${few} rounds in turn after a warm-up; npm run bench repeats it`,
  ];
}
