import { execFile, spawn } from 'node:child_process';
import { setMaxListeners } from 'node:events';
import { createWriteStream } from 'node:fs';
import { access, constants, readdir } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import { maskSecrets } from '../call-out.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { reach } from '../reach.ts';
import { chooseTrust, defaultRootFile, systemBundle } from './dial.ts';
import { explainError } from './explain.ts';
import { assertReachable } from './reachable.ts';
import { type ConnectionSettings, isUnixSocket } from './settings.ts';
import { startTurn } from './start-turn.ts';

/** One pair of pg_dump and pg_restore of the same release. */
export interface PgTools {
  readonly dir: string;
  readonly pgDump: string;
  readonly pgRestore: string;
  readonly major: number;
  /** For instance `17.6`. */
  readonly version: string;
}

/** Reads `pg_dump (PostgreSQL) 17.6 (Debian …)`; null when it is something else. */
export function parseToolVersion(output: string): { major: number; version: string } | null {
  const match =
    /\(PostgreSQL\)\s+((\d+)[^\s]*)/.exec(output) ??
    /\bpg_(?:dump|restore)\b.*?\s((\d+)(?:\.\d+|beta\d+|rc\d+|devel)\S*)/.exec(output);
  if (match === null) return null;
  const [, version, major] = match;
  return version === undefined || major === undefined ? null : { version, major: Number(major) };
}

/** The tools to use: of those new enough the smallest major, and within it the newest minor; earlier folders win ties. */
export function chooseTools(found: readonly PgTools[], minMajor: number): PgTools | null {
  const minor = (tools: PgTools): number => Number(/^\d+\.(\d+)/.exec(tools.version)?.[1] ?? -1);
  return (
    found.filter((tools) => tools.major >= minMajor).toSorted((a, b) => a.major - b.major || minor(b) - minor(a))[0] ??
    null
  );
}

const VERSION_TIMEOUT_MS = 10_000;

async function versionOf(command: string): Promise<{ major: number; version: string } | null> {
  try {
    await access(command, constants.X_OK);
  } catch {
    return null;
  }
  const started = await startTurn();
  return new Promise((resolve) => {
    execFile(command, ['--version'], { timeout: VERSION_TIMEOUT_MS, env: toolEnvironment() }, (error, stdout) => {
      // A program that cannot say its version is no tool to rely on; discovery goes on with the next folder.
      resolve(error === null ? parseToolVersion(stdout) : null);
    });
    started();
  });
}

async function toolsIn(dir: string): Promise<PgTools | null> {
  const pgDump = join(dir, 'pg_dump');
  const pgRestore = join(dir, 'pg_restore');
  const [dump, restore] = await Promise.all([versionOf(pgDump), versionOf(pgRestore)]);
  if (dump === null || restore === null || dump.major !== restore.major) return null;
  return { dir, pgDump, pgRestore, major: dump.major, version: dump.version };
}

/** `<root>/<name>/<tail>` for every name in `root` that `pattern` matches, newest name first; nothing when root is missing. */
async function folders(root: string, pattern: RegExp, tail: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(root);
  } catch {
    return [];
  }
  return names
    .filter((name) => pattern.test(name))
    .toSorted()
    .toReversed()
    .map((name) => join(root, name, tail));
}

async function candidateFolders(env: NodeJS.ProcessEnv): Promise<string[]> {
  const lists = await Promise.all([
    folders('/usr/lib/postgresql', /^\d+$/, 'bin'),
    folders('/usr', /^pgsql-\d+$/, 'bin'),
    folders('/opt/homebrew/opt', /^(postgresql(@\d+)?|libpq)$/, 'bin'),
    folders('/usr/local/opt', /^(postgresql(@\d+)?|libpq)$/, 'bin'),
    folders('/home/linuxbrew/.linuxbrew/opt', /^(postgresql(@\d+)?|libpq)$/, 'bin'),
    folders('/Applications/Postgres.app/Contents/Versions', /^(\d+|latest)$/, 'bin'),
  ]);
  const path = (env['PATH'] ?? '').split(delimiter).filter((dir) => dir !== '');
  return [...new Set([...lists.flat(), ...path])];
}

/** Every usable pair of tools: of `binDir` alone when it is given, else of the usual folders and PATH. */
export async function discoverPgTools(binDir: string | null, env: NodeJS.ProcessEnv = process.env): Promise<PgTools[]> {
  const dirs = binDir === null ? await candidateFolders(env) : [binDir];
  const found = await Promise.all(dirs.map((dir) => toolsIn(dir)));
  return found.filter((tools) => tools !== null);
}

function howToGet(major: number): string {
  const there = 'and, if they are in an unusual folder, set PGSLUICE_PG_BIN to it.';
  if (process.platform === 'darwin') return `Run: brew install postgresql@${major}; ${there}`;
  return (
    `Install them: apt install postgresql-client-${major} (older Debian and Ubuntu first need the PostgreSQL repository: ` +
    `apt install postgresql-common && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh), or dnf install postgresql${major}; ${there}`
  );
}

/**
 * Finds pg_dump and pg_restore of the smallest major that is at least `minMajor`. Throws `PG_TOOLS_MISSING` when
 * there are none at all, `PG_TOOLS_TOO_OLD` when all are older; both say which version is needed and how to get it.
 */
export async function findPgTools(options: {
  readonly binDir: string | null;
  readonly minMajor: number;
  readonly env?: NodeJS.ProcessEnv;
}): Promise<PgTools> {
  const found = await discoverPgTools(options.binDir, options.env ?? process.env);
  const chosen = chooseTools(found, options.minMajor);
  if (chosen !== null) return chosen;
  const where = options.binDir === null ? 'on this machine' : `in ${options.binDir} (PGSLUICE_PG_BIN)`;
  if (found.length === 0) {
    throw new PgsluiceError({
      code: 'PG_TOOLS_MISSING',
      message: `pg_dump and pg_restore ${options.minMajor} or newer are needed, and there are none ${where}.`,
      hint: howToGet(options.minMajor),
    });
  }
  const versions = [...new Set(found.map((tools) => tools.version))].join(', ');
  throw new PgsluiceError({
    code: 'PG_TOOLS_TOO_OLD',
    message: `pg_dump and pg_restore ${options.minMajor} or newer are needed, and those ${where} are ${versions}.`,
    hint: howToGet(options.minMajor),
  });
}

/** What any child process gets, and nothing else of this process's environment: no token, no key, no PG… variable. */
export function toolEnvironment(): Record<string, string> {
  const env: Record<string, string> = { LANG: 'C.UTF-8', LC_ALL: 'C' };
  for (const name of ['PATH', 'HOME', 'TMPDIR', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH', 'SystemRoot']) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}

/** PGSSLROOTCERT so that libpq trusts what our own sessions trust; null when it has nothing to verify. */
function rootCertificate(settings: ConnectionSettings): string | null {
  if (isUnixSocket(settings.host)) return null;
  const trust = chooseTrust(settings, defaultRootFile());
  if (trust === null || !trust.verify) return null;
  // The word "system" is known to libpq since 16 only; the file behind it to all.
  return trust.authorities === 'system' ? (systemBundle() ?? 'system') : trust.authorities;
}

/**
 * The environment that makes a libpq program connect as `settings` says. The password stands here and never in argv.
 * Meant for `runTool`.
 */
export function libpqEnvironment(settings: ConnectionSettings): Record<string, string> {
  const root = rootCertificate(settings);
  return {
    ...toolEnvironment(),
    PGHOST: settings.host,
    PGPORT: String(settings.port),
    PGUSER: settings.user,
    PGDATABASE: settings.database,
    PGSSLMODE: settings.sslmode,
    PGAPPNAME: settings.applicationName,
    // libpq counts whole seconds and takes 1 for 2.
    PGCONNECT_TIMEOUT: String(Math.max(2, Math.ceil(settings.connectTimeoutMs / 1000))),
    PGCLIENTENCODING: 'UTF8',
    PGGSSENCMODE: 'disable',
    PGCHANNELBINDING: 'disable',
    // A file that does not exist: what a job may use is in the job, not in the home of whoever runs it.
    PGPASSFILE: '/nonexistent/pgpass',
    ...(settings.password === null ? {} : { PGPASSWORD: settings.password }),
    ...(root === null ? {} : { PGSSLROOTCERT: root }),
  };
}

/**
 * The same for a program that connects to the server itself, and not through us: libpq would resolve the name once more, and could be
 * given another address than was judged, so it is told the address. @throws PgsluiceError HOST_NOT_ALLOWED; the resolver's error explained.
 */
export async function pinnedEnvironment(settings: ConnectionSettings): Promise<Record<string, string>> {
  const limits = reach();
  if (!limits.restricted) return libpqEnvironment(settings);
  assertReachable(settings, limits);
  try {
    return { ...libpqEnvironment(settings), PGHOSTADDR: await limits.pin(settings.host, settings.port) };
  } catch (error) {
    throw explainError(error, { side: 'source', settings, doing: 'reading the definitions' });
  }
}

/** How much of a tool's output is kept; pg_dump of a big schema goes to a file, not through here. */
const MAX_OUTPUT = 64 * 1024 * 1024;
const MAX_STDERR = 256 * 1024;
const KILL_AFTER_MS = 3000;

function toolName(command: string): string {
  return command.split('/').at(-1) ?? command;
}

/** libpq's and the server's words for a connection that was lost or cannot be had at the moment. */
const AWAY =
  /server closed the connection|could not receive data|could not send data|connection to server .* failed|terminating connection|the database system is (starting|shutting|in recovery|not yet)|connection (reset|refused|timed out)|SSL (connection has been closed|SYSCALL)|snapshot "[^"]*" does not exist|invalid snapshot identifier/i;

/** Whether a program failed for a reason that may pass by itself. Pure. */
export function mayPass(stderr: string): boolean {
  return AWAY.test(stderr);
}

export function toolFailed(command: string, what: string, stderr: string, cause?: unknown): PgsluiceError {
  // A statement that names thousands of tables must not crowd out what is wrong with it.
  const lines = stderr.trim().split('\n').slice(-5);
  const last = lines.map((line) => (line.length > 300 ? `${line.slice(0, 300)} …` : line)).join(' ');
  return new PgsluiceError({
    code: 'PG_TOOL_FAILED',
    message: `${toolName(command)} ${what}${last === '' ? '.' : `: ${last}`}`,
    hint: `Read the job's log for all that ${toolName(command)} said; remove the cause and retry.`,
    retryable: mayPass(stderr),
    cause,
  });
}

/**
 * Runs a program in a process group of its own and waits for its end, so that no child is left behind. Answers its
 * whole stdout (empty when `stdoutFile` or `onStdout` takes it) and at least the last 256 KiB of stderr. Throws `PG_TOOL_FAILED` when it
 * cannot start or exits with anything but 0. When `signal` fires the group gets SIGINT, after 3 s SIGKILL, and the
 * cancellation is thrown.
 */
export async function runTool(input: {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Record<string, string>;
  readonly signal: AbortSignal;
  readonly onStderrLine?: (line: string) => void;
  /** Told the process id of the program. */
  readonly onStart?: (pid: number) => void;
  readonly stdoutFile?: string;
  /** Takes stdout piece by piece as it comes; what it throws ends the program and is thrown. */
  readonly onStdout?: (chunk: Buffer) => void;
}): Promise<{ stdout: string; stderr: string }> {
  const { command, signal } = input;
  throwIfAborted(signal);
  setMaxListeners(0, signal);
  const started = await startTurn();
  let child;
  try {
    throwIfAborted(signal);
    child = spawn(command, [...input.args], { env: input.env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  } finally {
    started();
  }
  if (child.pid !== undefined) input.onStart?.(child.pid);
  const killGroup = (name: NodeJS.Signals): void => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, name);
    } catch (error) {
      // ESRCH: the group is gone already, which is what was wanted.
      if (!(error instanceof Error) || Reflect.get(error, 'code') !== 'ESRCH') child.kill(name);
    }
  };
  let killTimer: NodeJS.Timeout | undefined;
  const stop = (): void => {
    killGroup('SIGINT');
    killTimer ??= setTimeout(() => killGroup('SIGKILL'), KILL_AFTER_MS);
  };
  const onAbort = (): void => stop();
  signal.addEventListener('abort', onAbort, { once: true });

  let stderr = '';
  createInterface({ input: child.stderr, crlfDelay: Infinity }).on('line', (printed) => {
    // PostgreSQL's own print no password; what stands under their name here may be a wrapper that does.
    const line = maskSecrets(printed, [input.env['PGPASSWORD'] ?? null]);
    stderr += `${line}\n`;
    // Seldom: to cut a string copies all of it, and a large schema makes tens of thousands of lines.
    if (stderr.length > 2 * MAX_STDERR) stderr = stderr.slice(-MAX_STDERR);
    input.onStderrLine?.(line);
  });

  const chunks: Buffer[] = [];
  let size = 0;
  let overflow = false;
  const output: { error: Error | null } = { error: null };
  let writing: Promise<void> = Promise.resolve();
  const { onStdout } = input;
  if (onStdout !== undefined) {
    child.stdout.on('data', (chunk: Buffer) => {
      try {
        if (output.error === null) onStdout(chunk);
      } catch (error) {
        output.error = error instanceof Error ? error : new Error('reading failed', { cause: error });
        stop();
      }
    });
  } else if (input.stdoutFile === undefined) {
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MAX_OUTPUT) chunks.push(chunk);
      else if (!overflow) {
        overflow = true;
        stop();
      }
    });
  } else {
    writing = pipeline(child.stdout, createWriteStream(input.stdoutFile, { mode: 0o600 })).catch((error: unknown) => {
      output.error = error instanceof Error ? error : new Error('writing failed', { cause: error });
      stop();
    });
  }

  try {
    const end = await new Promise<{ code: number | null; by: NodeJS.Signals | null; error: Error | null }>(
      (resolve) => {
        child.once('error', (error) => {
          if (child.pid === undefined) resolve({ code: null, by: null, error });
        });
        child.once('close', (code, by) => resolve({ code, by, error: null }));
      },
    );
    await writing;
    throwIfAborted(signal);
    if (end.error !== null) throw toolFailed(command, `could not be started (${end.error.message})`, '', end.error);
    if (output.error !== null)
      throw toolFailed(command, 'printed what could not be taken', output.error.message, output.error);
    if (overflow) throw toolFailed(command, `printed more than ${MAX_OUTPUT} bytes`, stderr);
    if (end.code !== 0) {
      throw toolFailed(
        command,
        end.by === null ? `ended with exit code ${end.code}` : `was ended by ${end.by}`,
        stderr,
      );
    }
    return { stdout: Buffer.concat(chunks).toString('utf8'), stderr };
  } finally {
    clearTimeout(killTimer);
    signal.removeEventListener('abort', onAbort);
  }
}
