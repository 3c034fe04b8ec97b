// Format, lint, types and pure tests, in turn; stops at the first that fails. Under half a minute.
import { spawnSync } from 'node:child_process';

const steps = [
  ['format', 'oxfmt', ['--check', '.']],
  ['lint', 'oxlint', ['--type-aware', '--deny-warnings']],
  ['types', 'tsc', ['-p', 'tsconfig.json']],
  ['types of the page', 'tsc', ['-p', 'web/tsconfig.json']],
  ['pure tests', 'vitest', ['run', '--project', 'pure']],
];

for (const [name, command, args] of steps) {
  const startedAt = Date.now();
  const { status, error } = spawnSync('npx', ['--no-install', command, ...args], { stdio: 'inherit' });
  if (error !== undefined) throw error;
  const seconds = ((Date.now() - startedAt) / 1000).toFixed(1);
  if (status !== 0) {
    process.stderr.write(`check: ${name} failed after ${seconds} s\n`);
    process.exit(status ?? 1);
  }
  process.stdout.write(`check: ${name} passed in ${seconds} s\n`);
}
