// The lockfile, format, lint, types and pure tests, in turn; stops at the first that fails. Under half a minute.
// --no-tests leaves the tests to the caller.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { lockProblems } from './lock-problems.js';

/** @type {[name: string, command: string, args: string[]][]} */
const steps = [
  ['format', 'oxfmt', ['--check', '.']],
  ['lint', 'oxlint', ['--type-aware', '--deny-warnings']],
  ['types', 'tsc', ['-p', 'tsconfig.json']],
  ['types of the browser test', 'tsc', ['-p', 'tsconfig.browser.json']],
  ['types of the page', 'tsc', ['-p', 'web/tsconfig.json']],
  ['pure tests', 'vitest', ['run', '--project', 'pure']],
];

const read = (name) => JSON.parse(readFileSync(new URL(`../${name}`, import.meta.url), 'utf8'));
const problems = lockProblems(read('package-lock.json'), read('package.json'));
if (problems.length > 0) {
  process.stderr.write(`check: the lockfile: ${problems.join('; ')}\n`);
  process.exit(1);
}

for (const [name, command, args] of steps) {
  if (command === 'vitest' && process.argv.includes('--no-tests')) continue;
  const startedAt = Date.now();
  const { status, error } = spawnSync('npx', ['--no-install', command].concat(args), { stdio: 'inherit' });
  if (error !== undefined) throw error;
  const seconds = ((Date.now() - startedAt) / 1000).toFixed(1);
  if (status !== 0) {
    process.stderr.write(`check: ${name} failed after ${seconds} s\n`);
    process.exit(status ?? 1);
  }
  process.stdout.write(`check: ${name} passed in ${seconds} s\n`);
}
