import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Store, isStateUrl } from '../../src/store/store.ts';
import { root } from './binaries.ts';

const exec = promisify(execFile);
const patterns = new Map<string, Promise<string>>();

/** Where the pattern of this source, and of this key, is kept from run to run. */
async function patternOf(secretKey: string | null): Promise<string> {
  const hash = createHash('sha256');
  const add = async (folder: string): Promise<void> => {
    for (const name of (await readdir(folder)).toSorted()) {
      if (/\.(sql|ts|json)$/.test(name)) hash.update(`${name}\n`).update(await readFile(join(folder, name)));
    }
  };
  await add(join(root, 'migrations'));
  await add(join(root, 'src/store'));
  hash.update(await readFile(join(root, 'node_modules/@electric-sql/pglite/package.json')));
  hash.update(secretKey ?? '');
  const base = join(tmpdir(), `pgsluice-test-states-${process.getuid?.() ?? 'user'}`);
  const made = join(base, hash.digest('hex').slice(0, 16));
  if (existsSync(made)) return made;
  await mkdir(base, { recursive: true });
  const draft = await mkdtemp(join(base, 'draft-'));
  try {
    await (await Store.open({ state: join(draft, 'state'), secretKey, role: 'foreground' })).close();
    await rename(join(draft, 'state'), made);
  } catch (error) {
    // Another test process was quicker.
    if (!existsSync(made)) throw error;
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return made;
}

/**
 * Puts the state of an agent that has done nothing yet into `directory`, where that is empty or does not exist. A first start makes the
 * same in seconds of CPU, which is more than many a test takes. `secretKey` is the one that the state is opened with.
 */
export async function fillState(directory: string, secretKey: string | null = null): Promise<void> {
  if (isStateUrl(directory)) return;
  if (existsSync(directory) && (await readdir(directory)).length > 0) return;
  const draft = `${directory}.${randomBytes(4).toString('hex')}`;
  const pattern = patterns.get(secretKey ?? '') ?? patternOf(secretKey);
  patterns.set(secretKey ?? '', pattern);
  await exec('cp', ['-R', '-p', await pattern, draft]);
  try {
    await rename(draft, directory);
  } catch (error) {
    // Somebody else has filled it meanwhile.
    await rm(draft, { recursive: true, force: true });
    if (!existsSync(directory) || (await readdir(directory)).length === 0) throw error;
  }
}

/** A directory of its own with such a state; the caller removes it. */
export async function freshState(name: string, secretKey: string | null = null): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), `pgsluice-test-${name}-`));
  await fillState(directory, secretKey);
  return directory;
}
