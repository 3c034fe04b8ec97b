import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { randomUUID } from 'node:crypto';
import { decodeArchiveText } from './archive-encoding.ts';
import { readTocFile } from './archive-toc-file.ts';
import { asListed } from './listed.ts';
import { dumpFilterArguments } from './filters.ts';
import type { RelationFilter } from './filters.ts';
import { PgsluiceError } from '../errors.ts';
import type { ConnectionSettings } from './settings.ts';
import { tokenizeSql } from './sql-lexer.ts';
import { pinnedEnvironment, runTool } from './tools.ts';
import type { PgTools } from './tools.ts';

/** One entry of the archive's table of contents with the SQL that restores it. */
export interface ArchiveEntry {
  readonly dumpId: number;
  /** Catalogue and oid on the dumped server, for instance pg_class and a table's oid; both 0 for entries without one. */
  readonly classOid: number;
  readonly oid: number;
  /** dumpIds that must be restored before this one. */
  readonly dependencies: readonly number[];
  /** pg_dump's word: TABLE, INDEX, FK CONSTRAINT, ACL, COMMENT … */
  readonly type: string;
  readonly schema: string | null;
  /** As pg_restore prints it: line breaks in names appear as spaces. */
  readonly name: string;
  readonly owner: string | null;
  readonly section: 'pre-data' | 'post-data';
  /** default_tablespace and default_table_access_method in force for this entry; empty where they have no meaning. */
  readonly settings: readonly string[];
  readonly statements: readonly string[];
}

/** A database's schema as pg_dump sees it, in restore order. */
export interface Archive {
  readonly entries: readonly ArchiveEntry[];
}

export interface DumpInput {
  readonly tools: PgTools;
  readonly settings: ConnectionSettings;
  /** Exported snapshot to dump under; null dumps the present moment. */
  readonly snapshotId: string | null;
  readonly filter: RelationFilter;
  readonly noOwner: boolean;
  readonly noAcl: boolean;
  /** Directory of the agent for the archive; made when absent. The archive is removed again. */
  readonly workDir: string;
  readonly signal: AbortSignal;
  /** Told once, when pg_dump has been waiting for a connection. */
  readonly onWait?: (text: string) => void;
  readonly onLine?: (line: string) => void;
  /** Told the process id of each pg_dump. */
  readonly onStart?: (pid: number) => void;
  /**
   * How long pg_dump may wait for its locks, ms; left out: as long as it takes. Needed wherever this process holds locks of its own:
   * behind a TRUNCATE that waits for those, pg_dump would wait for ever, and the server sees no circle.
   */
  readonly lockWaitMs?: number;
}

/** Types whose restore depends on default_tablespace and default_table_access_method. */
const placed = new Set(['TABLE', 'MATERIALIZED VIEW', 'INDEX', 'CONSTRAINT']);

const tocLine = /^-- TOC entry (\d+) \(class (\d+) OID (\d+)\)$/;
const nameLine =
  /^-- (?:Data for )?Name: (.*); Type: ([A-Z][A-Z ]*); Schema: (.*?); Owner: ([^;]*|.*?)(?:; Tablespace: .*)?$/s;

interface EntryHeader {
  dumpId: number;
  classOid: number;
  oid: number;
  dependencies: number[];
  type: string;
  schema: string | null;
  name: string;
  owner: string | null;
}

/**
 * `ALTER … SET (pg_attver=…)` appears when the server stores its own bookkeeping among column options (minor releases of
 * November 2026) and pg_dump is older than that; no other server accepts it, and it carries nothing that was chosen by a person.
 * Returns null when nothing of the statement is left.
 */
export function withoutAttver(statement: string): string | null {
  if (!statement.includes('pg_attver')) return statement;
  const match = /^(ALTER (?:TABLE|FOREIGN TABLE|MATERIALIZED VIEW|INDEX)\b[\s\S]* SET )\(([^()]*)\);$/.exec(statement);
  if (match === null) return statement;
  const kept = (match[2] ?? '')
    .split(',')
    .map((option) => option.trim())
    .filter((option) => !/^"?pg_attver"?\s*=/.test(option));
  return kept.length === 0 ? null : `${match[1]}(${kept.join(', ')});`;
}

/**
 * Splits one section's SQL, as `pg_restore --verbose` prints it, into entries. `doubled`: backslashes escape in plain literals. Pure.
 */
export function parseArchiveSql(sql: string, section: ArchiveEntry['section'], doubled = false): ArchiveEntry[] {
  const entries: ArchiveEntry[] = [];
  const settings = new Map<string, string>();
  let header: EntryHeader | null = null;
  let inForce: string[] = [];
  let statements: string[] = [];

  const finish = (): void => {
    if (header === null) return;
    entries.push({
      ...header,
      section,
      settings: placed.has(header.type) ? inForce : [],
      statements,
    });
    header = null;
    statements = [];
  };

  for (const token of tokenizeSql(sql, doubled)) {
    if (token.kind === 'comment') {
      const toc = tocLine.exec(token.text);
      if (toc !== null) {
        finish();
        // pg_restore prints an entry's settings before its heading.
        inForce = [...settings.values()];
        header = {
          dumpId: Number(toc[1]),
          classOid: Number(toc[2]),
          oid: Number(toc[3]),
          dependencies: [],
          type: '',
          schema: null,
          name: '',
          owner: null,
        };
      } else if (header !== null && statements.length === 0) {
        if (token.text.startsWith('-- Dependencies: ')) {
          header.dependencies = token.text.slice('-- Dependencies: '.length).trim().split(' ').map(Number);
        } else if (header.type === '') {
          const name = nameLine.exec(token.text);
          if (name !== null) {
            header.name = name[1] ?? '';
            header.type = name[2] ?? '';
            header.schema = name[3] === '-' ? null : (name[3] ?? null);
            header.owner = name[4] === '-' || name[4] === '' ? null : (name[4] ?? null);
          }
        }
      }
      continue;
    }
    const setting = /^SET (default_tablespace|default_table_access_method) = /.exec(token.text);
    if (setting !== null) {
      settings.set(setting[1] ?? '', token.text);
      continue;
    }
    if (header === null) continue;
    const statement = withoutAttver(token.text);
    if (statement !== null) statements.push(statement);
  }
  finish();
  return entries;
}

/** How long a place for pg_dump is waited for, ms: as long as our own sessions wait for theirs. */
const PLACE_MS = 30_000;
/** A connection that was just closed may go on counting against a limit for so long; a wait beyond that is told. */
const LINGER_MS = 2_000;
const noPlace = /too many (clients|connections)|connection slots are reserved/;

function noConnectionLeft({ user }: ConnectionSettings, cause: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'TOO_MANY_CONNECTIONS',
    message: `The server has no connection left for pg_dump, which connects as "${user}".`,
    hint: `Close idle sessions there (SELECT pid, state, application_name FROM pg_stat_activity), or run: ALTER ROLE "${user}" CONNECTION LIMIT -1; then retry.`,
    retryable: true,
    cause,
  });
}

/** pg_dump bounds its LOCK TABLE by a timeout of the statement. */
const lockTimedOut = /canceling statement due to (statement|lock) timeout|deadlock detected/;

function sourceLocked(cause: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'SOURCE_LOCKED',
    message: 'A table of the source is held by an exclusive lock of another session, or one waits for it.',
    hint: 'Wait until the DDL or TRUNCATE on the source has ended, then try again.',
    retryable: true,
    cause,
  });
}

/** pg_dump holds a lock on every table at once (PostgreSQL documentation, 20.12 "max_locks_per_transaction"). */
const outOfLocks = /out of shared memory|max_locks_per_transaction/;

function locksExhausted(cause: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'OUT_OF_LOCKS',
    message: 'The server has no room for the locks that pg_dump needs, one for every table.',
    hint: 'Run there: ALTER SYSTEM SET max_locks_per_transaction = 1024; restart that server, and retry. (On a managed service set it in the parameter group.)',
    cause,
  });
}

/** A backend ends a moment after its client has gone; with tight limits pg_dump may come too early for its place. */
async function runWhenFree(
  { settings, onWait }: Pick<DumpInput, 'settings' | 'onWait'>,
  input: Parameters<typeof runTool>[0],
): Promise<void> {
  const began = Date.now();
  let told = false;
  for (;;) {
    try {
      await runTool(input);
      return;
    } catch (error) {
      const full = error instanceof Error && noPlace.test(error.message);
      if (error instanceof Error && lockTimedOut.test(error.message)) throw sourceLocked(error);
      if (error instanceof Error && outOfLocks.test(error.message)) throw locksExhausted(error);
      if (!full) throw error;
      if (Date.now() - began > PLACE_MS) throw noConnectionLeft(settings, error);
      if (!told && Date.now() - began > LINGER_MS) {
        told = true;
        onWait?.(`There is no connection left for pg_dump, which connects as "${settings.user}"; trying again.`);
      }
      await sleep(250, undefined, { signal: input.signal });
    }
  }
}

/** Printed before the first entry when the server reads a backslash in plain literals as an escape; pg_dump then doubles it. */
const escapesInLiterals = /^SET standard_conforming_strings = off;$/m;

/**
 * Dumps the schema of one database: everything pg_dump writes but table data, sequence values and large objects.
 * Literals are as the SQL standard has them, whatever the database sets for itself.
 * @throws PgsluiceError PG_TOOL_FAILED with pg_dump's own words, SOURCE_LOCKED, OUT_OF_LOCKS, AGENT_DISK_FULL, or the cancellation.
 */
export async function dumpArchive(input: DumpInput): Promise<Archive> {
  const dump = await dumpWith(input, {});
  if (!dump.escapes) return { entries: dump.entries };
  // Only then, since some proxies refuse a connection that brings options.
  return { entries: (await dumpWith(input, { PGOPTIONS: '-c standard_conforming_strings=on' })).entries };
}

/** Words of a program, or of this one, about a disk of this machine; those of a server stand behind its ERROR. Pure. */
export function saysOwnDiskFull(message: string): boolean {
  return /No space left on device|Disk quota exceeded|ENOSPC|EDQUOT/.test(message) && !/\bERROR:/.test(message);
}

async function onOwnDisk<T>(workDir: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Error) || !saysOwnDiskFull(error.message)) throw error;
    throw new PgsluiceError({
      code: 'AGENT_DISK_FULL',
      message: "The disk of pgsluice's own machine is full: the source's definitions could not be written there.",
      hint: `Free space on the disk that holds ${workDir}, then retry the job.`,
      cause: error,
    });
  }
}

function dumpWith(input: DumpInput, env: Record<string, string>): Promise<PrintedArchive> {
  return onOwnDisk(input.workDir, () => dumpToFile(input, env));
}

async function dumpToFile(input: DumpInput, env: Record<string, string>): Promise<PrintedArchive> {
  await mkdir(input.workDir, { recursive: true, mode: 0o700 });
  const file = join(input.workDir, `schema-${randomUUID()}.dump`);
  const onStderrLine = input.onLine === undefined ? {} : { onStderrLine: input.onLine };
  try {
    await runWhenFree(input, {
      command: input.tools.pgDump,
      args: [
        '--format=custom',
        '--compress=0',
        '--section=pre-data',
        '--section=post-data',
        '--no-blobs',
        '--no-password',
        ...(input.snapshotId === null ? [] : [`--snapshot=${input.snapshotId}`]),
        ...(input.lockWaitMs === undefined ? [] : [`--lock-wait-timeout=${input.lockWaitMs}`]),
        ...dumpFilterArguments(input.filter),
        `--file=${file}`,
      ],
      // Bounds and defaults of type timestamptz are printed in the session's zone, which a database may set for itself.
      env: { ...(await pinnedEnvironment(input.settings)), PGTZ: 'UTC', ...env },
      signal: input.signal,
      ...onStderrLine,
      ...(input.onStart === undefined ? {} : { onStart: input.onStart }),
    });
    return await printArchive({ ...input, path: file, encoding: 'UTF8' });
  } finally {
    await rm(file, { force: true });
  }
}

export interface PrintInput extends Pick<DumpInput, 'tools' | 'noOwner' | 'noAcl' | 'workDir' | 'signal'> {
  /** A custom-format file, or a directory. */
  readonly path: string;
  /** Of the archive, as PostgreSQL names it. */
  readonly encoding: string;
  /** Only these entries, by dumpId, in whatever section of the archive they stand; they count as pre-data. */
  readonly only?: readonly number[];
}

export interface PrintedArchive {
  /** Everything but table data, sequence values and the bytes of large objects. */
  readonly entries: ArchiveEntry[];
  /** The entries' literals double their backslashes, and nothing else tells it. */
  readonly escapes: boolean;
}

/**
 * Has pg_restore print an archive's definitions, and holds them against its table of contents.
 * @throws PgsluiceError PG_TOOL_FAILED with pg_restore's own words, ARCHIVE_UNREADABLE for an encoding that is not known here,
 * ARCHIVE_NOT_AS_LISTED, SQL_UNREADABLE, or the cancellation.
 */
export async function printArchive(input: PrintInput): Promise<PrintedArchive> {
  await mkdir(input.workDir, { recursive: true, mode: 0o700 });
  const { only } = input;
  const toc = await readTocFile(input.path, (bytes) => decodeArchiveText(bytes, input.encoding));
  const print = async (section: ArchiveEntry['section']): Promise<PrintedArchive> => {
    const sqlFile = join(input.workDir, `${randomUUID()}.${section}.sql`);
    const listFile = `${sqlFile}.list`;
    try {
      if (only !== undefined) await writeFile(listFile, only.map((id) => `${id};\n`).join(''), { mode: 0o600 });
      await runTool({
        command: input.tools.pgRestore,
        args: [
          '--verbose',
          only === undefined ? `--section=${section}` : `--use-list=${listFile}`,
          ...(input.noOwner ? ['--no-owner'] : []),
          ...(input.noAcl ? ['--no-privileges'] : []),
          `--file=${sqlFile}`,
          input.path,
        ],
        env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' },
        signal: input.signal,
      });
      const sql = decodeArchiveText(await readFile(sqlFile), input.encoding);
      const doubled = escapesInLiterals.test(sql.slice(0, 2000));
      const entries = asListed(parseArchiveSql(sql, section, doubled), toc.entries, doubled, withoutAttver);
      return { entries, escapes: doubled };
    } finally {
      await Promise.all([rm(sqlFile, { force: true }), rm(listFile, { force: true })]);
    }
  };
  if (only !== undefined) return print('pre-data');
  const printed = await Promise.allSettled([print('pre-data'), print('post-data')]);
  const parts = printed.map((part) => {
    if (part.status === 'rejected') throw part.reason;
    return part.value;
  });
  return { entries: parts.flatMap(({ entries }) => entries), escapes: parts.some(({ escapes }) => escapes) };
}
