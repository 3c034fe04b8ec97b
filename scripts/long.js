// The long forms of tests of which `npm test` runs a slice: `npm run test:faults`, `npm run test:fuzz`. Seeds are printed; the
// variables below, or a seed, may be given to try something else. Further arguments are vitest's.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** Files that leave cases to the long run (test/support/long.ts). */
const withLongCases = readdirSync('test').flatMap((name) =>
  name.endsWith('.test.ts') && /support\/(long|browser)\.ts'/.test(readFileSync(`test/${name}`, 'utf8'))
    ? [name.replace('.test.ts', '')]
    : [],
);

/** @type {Record<string, {files: string[], env: Record<string, string>, args?: string[]}>} */
const kinds = {
  faults: {
    files: [
      'crash',
      'network',
      'servers-faults',
      'failover',
      'store-faults',
      'live-faults',
      'live-faults-cutover',
      'live-copy-faults',
      'live-apply-faults',
      'live-stream-faults',
      'live-writers',
      'interrupt',
      ...withLongCases,
    ],
    env: { PGSLUICE_TEST_LONG: '1', PGSLUICE_CRASH_KILLS: '200', PGSLUICE_NETWORK: 'all' },
  },
  fuzz: { files: ['fuzz'], env: { PGSLUICE_FUZZ_INPUTS: '1000000' }, args: ['--testTimeout', '3600000'] },
};

const [name = '', ...more] = process.argv.slice(2);
const kind = kinds[name];
if (kind === undefined) {
  process.stderr.write(`long: name one of ${Object.keys(kinds).join(', ')}\n`);
  process.exit(2);
}
const files = [...new Set(kind.files)].map((file) => `test/${file}.test.ts`);
const { status, error } = spawnSync(
  'npx',
  ['--no-install', 'vitest', 'run', '--project', 'servers', ...files, ...(kind.args ?? []), ...more],
  { stdio: 'inherit', env: { ...kind.env, ...process.env } },
);
if (error !== undefined) throw error;
process.exit(status ?? 1);
