// Everything: `npm run check`, a build of what is tested, then the tests on real servers. The last line counts all tests.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

function run(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, ...env } });
  if (error !== undefined) throw error;
  return status ?? 1;
}

const folder = mkdtempSync(join(tmpdir(), 'pgsluice-tests-'));
const resultFile = join(folder, 'result.json');
let status = 0;
try {
  status = run(process.execPath, ['scripts/check.js', '--no-tests']) || run('npm', ['run', '--silent', 'build']);
  if (status === 0) {
    status = run('npx', [
      '--no-install',
      'vitest',
      'run',
      '--reporter=default',
      '--reporter=json',
      '--reporter=./scripts/slowest.js',
      `--outputFile.json=${resultFile}`,
      ...process.argv.slice(2),
    ]);
    const result = JSON.parse(readFileSync(resultFile, 'utf8'));
    const failedFiles = result.testResults.filter(
      (file) => file.status === 'failed' && file.assertionResults.length === 0,
    );
    const failed = result.numFailedTests + failedFiles.length;
    const skipped = result.numPendingTests + result.numTodoTests;
    process.stdout.write(`\n${result.numPassedTests} passed, ${failed} failed, ${skipped} skipped\n`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(status);
