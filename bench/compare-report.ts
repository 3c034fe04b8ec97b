import type { Run, WorkloadResult } from './compare.ts';
import { verificationShare } from './figures.ts';
import { megabytes, print, seconds, table } from './report.ts';
import { pairedRatios, spread } from './stats.ts';

/** What one workload's runs took, phase by phase where it is known. */
export function printRuns({ runs, verified, limit }: WorkloadResult): void {
  const rows = Object.entries(runs).flatMap(([name, list]) => (list.length === 0 ? [] : [[name, ...cells(list)]]));
  if (verified.length > 0) rows.push(['pgsluice, all verified', ...cells(verified)]);
  print(
    table(
      ['seconds', 'min', 'median', 'max', 'tool CPU', 'source CPU', 'target CPU', 'peak RSS', 'main process'],
      rows,
    ),
  );
  if (limit !== null) {
    const { definitions, copyOut, copyIn, indexes } = limit;
    const parts = Object.entries({ definitions, 'copy out': copyOut, 'copy in': copyIn, 'indexes and keys': indexes });
    print(
      `limit ${seconds(limit.seconds)} s: CPU of the servers alone (${parts.map(([name, cpu]) => `${name} ${seconds(cpu)}`).join(', ')} s) by ${limit.cores} cores`,
    );
  }
  const ours = runs.pgsluice ?? [];
  for (const [name, list] of Object.entries(runs)) {
    if (name === 'pgsluice' || ours.length === 0 || list.length === 0) continue;
    const ratio = spread(
      pairedRatios(
        ours.map((run) => run.seconds),
        list.map((run) => run.seconds),
      ),
    );
    const range = `${ratio.min.toFixed(2)} to ${ratio.max.toFixed(2)}`;
    print(
      `pgsluice / ${name}: median ${ratio.median.toFixed(2)} (${range}), ${ratio.median <= 1 ? 'not slower' : 'slower'}`,
    );
  }
  printPhases('its middle run', middle(ours));
  printPhases('its middle verified run', middle(verified));
  const shares = verified.map(verificationShare).filter((share) => share !== null);
  if (shares.length > 0) {
    const time = spread(shares.map((share) => share.seconds)).median;
    const byCopy = spread(shares.map((share) => share.byCopy));
    const byRows = shares.map((share) => share.byRows).filter((share) => share !== null);
    print(
      `verification ${seconds(time)} s, by all else of its run ${byCopy.median.toFixed(2)} (${byCopy.min.toFixed(2)} to ${byCopy.max.toFixed(2)})${byRows.length === 0 ? '' : `, by the phase that moves rows ${spread(byRows).median.toFixed(2)}`}`,
    );
  }
}

function printPhases(of: string, run: Run | undefined): void {
  const phases = run?.log?.phases ?? [];
  if (phases.length > 0) {
    print(`phases of ${of}: ${phases.map(({ phase, seconds: s }) => `${phase} ${seconds(s)}`).join(', ')} s`);
  }
}

function cells(runs: readonly Run[]): string[] {
  const { min, median, max } = spread(runs.map((run) => run.seconds));
  const typical = middle(runs);
  return [
    ...[min, median, max, typical?.cpu ?? null, typical?.sourceCpu ?? null, typical?.targetCpu ?? null].map(seconds),
    megabytes(typical?.treeBytes ?? null),
    megabytes(typical?.mainBytes ?? null),
  ];
}

/** The run whose time is the median, or the one just below it. */
function middle(runs: readonly Run[]): Run | undefined {
  return runs.toSorted((a, b) => a.seconds - b.seconds)[Math.floor((runs.length - 1) / 2)];
}
