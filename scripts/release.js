// Makes what is released out of the last commit, in a copy of its own: the package, the list of all that it consists of (SBOM, CycloneDX)
// and the checksums of both. No install script of a dependency is run. Argument: the folder for the results, by default `release`.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { lockProblems } from './lock-problems.js';

const root = join(import.meta.dirname, '..');
const out = resolve(process.argv[2] ?? join(root, 'release'));

/** Ends the release when the command fails, unless `mayFail`. */
function run(cwd, command, args, { quiet = false, mayFail = false } = {}) {
  process.stdout.write(`release: ${command} ${args.join(' ')}\n`);
  const stdio = ['ignore', quiet ? 'pipe' : 'inherit', quiet ? 'pipe' : 'inherit'];
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd,
    stdio,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (error !== undefined) throw error;
  if (status !== 0 && !mayFail) {
    process.stderr.write(`${stderr ?? ''}release: ${command} ${args[0] ?? ''} failed\n`);
    process.exitCode = 1;
    throw new Error('nothing was released');
  }
  return { status, stdout: stdout ?? '', stderr: stderr ?? '' };
}

const place = mkdtempSync(join(tmpdir(), 'pgsluice-release-'));
try {
  if (run(root, 'git', ['status', '--porcelain'], { quiet: true }).stdout !== '')
    process.stdout.write('release: the working tree has changes that are not committed; they are left out\n');
  const tree = join(place, 'pgsluice');
  run(place, 'git', ['clone', '--quiet', '--no-hardlinks', root, tree]);
  const read = (name) => JSON.parse(readFileSync(join(tree, name), 'utf8'));
  const manifest = read('package.json');
  const problems = lockProblems(read('package-lock.json'), manifest);
  if (problems.length > 0) throw new Error(`the lockfile is not fit for a release: ${problems.join('; ')}`);

  run(tree, 'npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund']);
  const audit = run(tree, 'npm', ['audit', '--omit=dev', '--json'], { quiet: true, mayFail: true });
  const found = JSON.parse(audit.stdout === '' ? '{}' : audit.stdout).metadata?.vulnerabilities;
  if (found === undefined)
    process.stdout.write('release: the registry answers no audit, so known faults were NOT looked for\n');
  else if (found.total > 0)
    throw new Error(`npm audit knows of ${found.total} faults: npm audit --omit=dev lists them`);
  else process.stdout.write('release: npm audit knows of no fault\n');

  run(tree, 'npm', ['run', '--silent', 'build']);
  mkdirSync(out, { recursive: true });
  // Without scripts: `prepare` would build a second time.
  const packed = run(tree, 'npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', out], { quiet: true });
  const [{ filename }] = JSON.parse(packed.stdout);
  const bill = `${basename(filename, '.tgz')}.cdx.json`;
  const sbom = run(tree, 'npm', ['sbom', '--sbom-format', 'cyclonedx', '--omit', 'dev'], { quiet: true }).stdout;
  const { components } = JSON.parse(sbom);
  const unnamed = components.filter(({ hashes }) => hashes === undefined);
  if (unnamed.length > 0) throw new Error(`the SBOM has no checksum for ${unnamed.map(({ name }) => name).join(', ')}`);
  writeFileSync(join(out, bill), sbom);

  // What was packed runs where nothing but its package was installed, and no script.
  const user = join(place, 'user');
  mkdirSync(user);
  writeFileSync(join(user, 'package.json'), '{"private":true}');
  run(user, 'npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--omit=optional', join(out, filename)]);
  const { stdout } = run(user, 'npx', ['--no-install', 'pgsluice', '--version'], { quiet: true });
  if (stdout.trim() !== manifest.version) throw new Error(`what was packed says it is version ${stdout.trim()}`);

  const sums = [filename, bill].map((name) => {
    const sum = createHash('sha256')
      .update(readFileSync(join(out, name)))
      .digest('hex');
    return `${sum}  ${name}\n`;
  });
  writeFileSync(join(out, 'SHA256SUMS'), sums.join(''));
  process.stdout.write(`release: ${components.length} components, in ${out}\n${sums.join('')}`);
} finally {
  rmSync(place, { recursive: true, force: true });
}
