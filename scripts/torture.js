// The long form of test/live-torture.test.ts: 10 runs of 3 minutes with 20 kills each, every seed printed. Arguments: runs, first seed.
import { spawnSync } from 'node:child_process';

const [runs = '10', seed = String(Math.floor(Math.random() * 1e9))] = process.argv.slice(2);
const env = {
  PGSLUICE_TORTURE_RUNS: runs,
  PGSLUICE_TORTURE_SEED: seed,
  PGSLUICE_TORTURE_SECONDS: '185',
  PGSLUICE_TORTURE_KILLS: '20',
  PGSLUICE_TORTURE_HUGE_ROWS: '1000000',
};
process.stdout.write(`${runs} runs from seed ${seed} on\n`);
const { status, error } = spawnSync(
  'npx',
  ['--no-install', 'vitest', 'run', '--project', 'servers', 'test/live-torture.test.ts'],
  { stdio: 'inherit', env: { ...env, ...process.env } },
);
if (error !== undefined) throw error;
process.exit(status ?? 1);
