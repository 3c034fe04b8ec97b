import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { drawChart } from './chart.ts';
import { checkout } from './contest.ts';
import { type Figures, judged, readFigures } from './figures.ts';
import type { BenchOptions } from './options.ts';
import { print, resultsDir, table, tellElsewhere } from './report.ts';
import { type Verdict, judge } from './targets.ts';

/** One row a target: what was wanted, what was measured, whether it is reached. */
export function printVerdicts(verdicts: readonly Verdict[]): void {
  const two = (value: number | null): string => (value === null ? '—' : value.toFixed(2));
  print(
    table(
      ['workload', 'against', 'wanted', 'median (min–max)', 'by limit', 'scale', 'rounds', 'reached'],
      verdicts.map(({ workload, against, wanted, measured, byLimit, scale, rounds, reached, provisional }) => [
        workload,
        against,
        two(wanted),
        measured === null ? '—' : `${two(measured.median)} (${two(measured.min)}–${two(measured.max)})`,
        two(byLimit),
        scale === null ? '—' : String(scale),
        String(rounds),
        `${reached}${provisional ? '*' : ''}`,
      ]),
    ),
  );
  if (verdicts.some(({ provisional }) => provisional)) {
    print('* fewer than 5 rounds, smaller than scale 1, or (the limit) not all workloads');
  }
}

/** All targets by the newest figures at the largest scale, from whatever files the other commands have left, and the chart. */
export async function summary(options: BenchOptions): Promise<void> {
  if (options.json) tellElsewhere();
  const { figures, files, passedOver } = await allFigures();
  const [newest] = figures.toSorted((a, b) => b.at.localeCompare(a.at));
  if (newest === undefined) {
    throw new Error('bench/results holds no figures yet. Run: npm run bench -- compare, then live, then path');
  }
  print(
    `${files} files of figures${passedOver === 0 ? '' : `; ${passedOver} of another form, or cut short, are left out`}`,
  );
  const machines = new Set(figures.map(({ machine }) => `${machine.cpu}, ${machine.cores} cores, ${machine.servers}`));
  if (machines.size > 1) print(`These come from different machines or servers: ${[...machines].join('; ')}`);
  const verdicts = judge(figures.flatMap(({ evidence }) => evidence));
  print();
  printVerdicts(verdicts);
  const file = options.chart ?? join(checkout(), 'docs/bench.svg');
  const versions = newestTools(figures);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, drawChart(verdicts, { machine: newest.machine, tools: versions, at: new Date(newest.at) }));
  print(`\nChart: ${relative(process.cwd(), file)}`);
  if (options.json) process.stdout.write(`${JSON.stringify({ at: newest.at, machine: newest.machine, verdicts })}\n`);
}

/** The versions that took part last, each once. */
function newestTools(figures: readonly Figures[]): string[] {
  const [newest] = figures.filter(({ tools }) => tools.length > 0).toSorted((a, b) => b.at.localeCompare(a.at));
  return [
    ...new Set(
      (newest?.tools ?? []).map(({ name, version }) => (name === 'pgsluice' ? `pgsluice ${version}` : version)),
    ),
  ];
}

async function allFigures(): Promise<{ figures: Figures[]; files: number; passedOver: number }> {
  const figures: Figures[] = [];
  let passedOver = 0;
  const names = await readdir(resultsDir()).catch(() => []);
  for (const name of names) {
    const command = judged.find((candidate) => name.endsWith(`-${candidate}.json`));
    if (command === undefined) continue;
    const read = readFigures(command, parsed(await readFile(join(resultsDir(), name), 'utf8')));
    if (read === null) passedOver += 1;
    else figures.push(read);
  }
  return { figures, files: figures.length, passedOver };
}

/** null for a file that was cut short; it is counted and told. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
