import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync, constants as zlib } from 'node:zlib';
import { manifestName } from '../contract/manifest.ts';
import { shellWord } from '../contract/words.ts';
import { PgsluiceError } from '../errors.ts';
import { tocMagic } from '../postgres/archive-toc.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';

/** What can be imported. */
export interface ArchivePlace {
  readonly kind: 'directory' | 'custom';
  readonly path: string;
  /** The file that begins with the table of contents. */
  readonly tocFile: string;
  /** null: it was not written by pgsluice. */
  readonly manifestFile: string | null;
}

/** What the first bytes of a file say. */
export type FileKind = 'custom' | 'tar' | 'sql' | 'sql-gzip' | 'cluster-sql' | 'compressed' | 'empty' | 'other';

const HEAD_BYTES = 64 * 1024;
/** First bytes of gzip, zstd, lz4, bzip2, xz and zip. */
const compressed = ['1f8b', '28b52ffd', '04224d18', '425a68', 'fd377a58', '504b0304'];

function isSql(text: string): FileKind | null {
  if (/^-- PostgreSQL database cluster dump/m.test(text)) return 'cluster-sql';
  // What other programs write begins with a comment or a command as well.
  if (/^-- PostgreSQL database dump/m.test(text)) return 'sql';
  return /^\s*(--|\/\*|\\restrict|SET |BEGIN|CREATE |INSERT |COPY |DROP |ALTER |SELECT |START TRANSACTION)/i.test(text)
    ? 'sql'
    : null;
}

/** Pure. `head`: the file's first bytes, as many as 64 KiB. */
export function fileKind(head: Buffer): FileKind {
  if (head.length === 0) return 'empty';
  if (head.subarray(0, tocMagic.length).toString('latin1') === tocMagic) return 'custom';
  if (head.subarray(257, 262).toString('latin1') === 'ustar') return 'tar';
  const hex = head.subarray(0, 6).toString('hex');
  if (compressed.some((magic) => hex.startsWith(magic))) {
    if (!hex.startsWith('1f8b')) return 'compressed';
    try {
      const text = gunzipSync(head, { finishFlush: zlib.Z_SYNC_FLUSH }).subarray(0, HEAD_BYTES);
      return isSql(text.toString('utf8')) === null ? 'compressed' : 'sql-gzip';
    } catch {
      // Cut or damaged at once: all that can be said is that it is compressed.
      return 'compressed';
    }
  }
  if (head.includes(0)) return 'other';
  return isSql(head.toString('utf8')) ?? 'other';
}

/** The command that loads an SQL file into the target; psql asks for the password. Pure. */
export function psqlCommand(kind: FileKind, path: string, target: ConnectionSettings): string {
  const to = [
    `-h ${shellWord(target.host)} -p ${target.port} -U ${shellWord(target.user)}`,
    `-d ${shellWord(kind === 'cluster-sql' ? 'postgres' : target.database)}`,
  ].join(' ');
  // A cluster's dump creates databases, which no transaction allows.
  const options = `-X -v ON_ERROR_STOP=1${kind === 'cluster-sql' ? '' : ' --single-transaction'}`;
  const file = shellWord(path);
  return kind === 'sql-gzip' ? `gunzip -c ${file} | psql ${options} ${to}` : `psql ${options} ${to} -f ${file}`;
}

/** Why a file of this kind is not imported, and how to go on. Pure. */
export function refusedFile(kind: FileKind, path: string, target: ConnectionSettings): PgsluiceError {
  const name = shellWord(path);
  const readable = 'An import reads a directory made by pgsluice export or pg_dump -Fd, or a file made by pg_dump -Fc.';
  if (kind === 'sql' || kind === 'sql-gzip' || kind === 'cluster-sql') {
    return new PgsluiceError({
      code: 'ARCHIVE_IS_SQL',
      message: `${path} is a plain SQL dump${kind === 'cluster-sql' ? ' of a whole server' : ''}, which only psql can load.`,
      hint: `Run: ${psqlCommand(kind, path, target)}`,
    });
  }
  if (kind === 'tar') {
    return new PgsluiceError({
      code: 'ARCHIVE_UNREADABLE',
      message: `${path} is a tar file.`,
      hint: `Unpack it, and import the directory with the toc.dat in it: mkdir ${shellWord(`${path}.d`)} && tar -xf ${name} -C ${shellWord(`${path}.d`)} && pgsluice import ${shellWord(`${path}.d`)}`,
    });
  }
  const what: Readonly<Record<string, string>> = {
    compressed: 'is compressed as a whole',
    empty: 'is empty',
    other: 'is no archive of pg_dump',
  };
  return new PgsluiceError({
    code: 'ARCHIVE_UNREADABLE',
    message: `${path} ${what[kind] ?? 'is no archive of pg_dump'}.`,
    hint: kind === 'compressed' ? `Uncompress it first, then import what comes out. ${readable}` : readable,
  });
}

function errnoOf(error: unknown): string {
  return error instanceof Error ? String(Reflect.get(error, 'code')) : '';
}

function unreachable(path: string, cause: unknown): PgsluiceError {
  const missing = errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ENOTDIR';
  return new PgsluiceError({
    code: missing ? 'ARCHIVE_NOT_FOUND' : 'ARCHIVE_UNREADABLE',
    message: missing
      ? `There is no ${path} on the machine of the agent.`
      : `${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}.`,
    hint: missing
      ? 'Check the path; an archive that stands elsewhere has to be brought to this machine first.'
      : 'Let the user that runs pgsluice read it.',
    cause,
  });
}

/** The file's first bytes. */
export async function readHead(path: string, bytes: number = HEAD_BYTES): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const buffer = Buffer.alloc(bytes);
    const { bytesRead } = await file.read(buffer, 0, bytes, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/**
 * What the path holds. `target` is named in the command that loads what cannot be imported.
 * @throws PgsluiceError ARCHIVE_NOT_FOUND, ARCHIVE_IS_SQL, ARCHIVE_TORN, ARCHIVE_UNREADABLE.
 */
export async function recogniseArchive(path: string, target: ConnectionSettings): Promise<ArchivePlace> {
  try {
    const found = await stat(path);
    if (found.isDirectory()) return recogniseDirectory(path, new Set(await readdir(path)));
    if (found.isFile()) {
      const kind = fileKind(await readHead(path));
      if (kind === 'custom') return { kind, path, tocFile: path, manifestFile: null };
      throw refusedFile(kind, path, target);
    }
  } catch (error) {
    if (error instanceof PgsluiceError) throw error;
    throw unreachable(path, error);
  }
  throw refusedFile('other', path, target);
}

function recogniseDirectory(path: string, names: ReadonlySet<string>): ArchivePlace {
  const manifestFile = names.has(manifestName) ? join(path, manifestName) : null;
  if (names.has('toc.dat')) return { kind: 'directory', path, tocFile: join(path, 'toc.dat'), manifestFile };
  const hint = 'Import a directory made by pgsluice export or pg_dump -Fd; a whole one holds the file toc.dat.';
  if (manifestFile !== null || [...names].some((name) => /^\d+\.dat(\.|$)/.test(name))) {
    throw new PgsluiceError({
      code: 'ARCHIVE_TORN',
      message: `${path} lacks its table of contents, toc.dat, which is written last.`,
      hint: 'Its export or pg_dump did not come to its end, or it was copied in part: take it from its origin again.',
    });
  }
  throw new PgsluiceError({
    code: 'ARCHIVE_UNREADABLE',
    message: names.has('PG_VERSION')
      ? `${path} is the data directory of a server, not a dump.`
      : `${path} is a directory without an archive in it.`,
    hint,
  });
}
