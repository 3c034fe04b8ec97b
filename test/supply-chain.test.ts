import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Lock, lockProblems } from '../scripts/lock-problems.js';
import { root } from './support/binaries.ts';

const text = (name: string): string => readFileSync(join(root, name), 'utf8');
const lock = JSON.parse(text('package-lock.json')) as Lock;
const manifest = JSON.parse(text('package.json')) as Record<string, Record<string, string>>;

test('every package is pinned to its bytes, and none that is needed runs a script when it is installed', () => {
  expect(Object.keys(lock.packages ?? {}).length).toBeGreaterThan(100);
  expect(lockProblems(lock, manifest)).toEqual([]);
});

test.each([
  { what: 'no integrity', entry: { integrity: '' }, says: 'pg has no sha512 integrity' },
  { what: 'a weak one', entry: { integrity: 'sha1-AAAA' }, says: 'pg has no sha512 integrity' },
  { what: 'another place', entry: { resolved: 'git+ssh://x' }, says: 'pg comes from git+ssh://x' },
  { what: 'a folder', entry: { link: true }, says: 'pg is a link to a folder' },
  { what: 'a script', entry: { hasInstallScript: true }, says: 'pg wants to run a script when it is installed' },
])('a lockfile with $what is refused', ({ entry, says }) => {
  const packages = { ...lock.packages, 'node_modules/pg': { ...lock.packages?.['node_modules/pg'], ...entry } };
  expect(lockProblems({ ...lock, packages }, manifest)).toEqual([says]);
  const loose = { ...manifest, dependencies: { ...manifest['dependencies'], pg: '^8.0.0' } };
  expect(lockProblems(lock, loose)[0]).toBe('pg is not pinned: ^8.0.0');
});

test('the image runs as an ordinary user, and with nothing that it could write to or gain', () => {
  const last =
    text('Dockerfile')
      .split(/^FROM /m)
      .at(-1) ?? '';
  expect([...last.matchAll(/^USER (.*)$/gm)].map(([, user]) => user)).toEqual(['node']);
  expect(last.indexOf('USER node')).toBeLessThan(last.indexOf('ENTRYPOINT'));
  expect(text('Dockerfile')).toContain('npm ci --ignore-scripts');
  const [, agent = ''] = /^ {2}agent:\n((?: {4}.*\n|\n)+)/m.exec(text('docker-compose.yml')) ?? [];
  for (const line of ['read_only: true', 'cap_drop: [ALL]', "security_opt: ['no-new-privileges:true']"])
    expect(agent).toContain(`    ${line}\n`);
  // Several may share it: none of its networks, none of its files, and nobody from elsewhere.
  expect(agent).toContain(`      PGSLUICE_DENY_PRIVATE: '1'\n`);
  expect([...agent.matchAll(/^ {6}- (.*:7432)$/gm)].map(([, port]) => port)).toEqual(['127.0.0.1:7432:7432']);
});
