import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { PgsluiceError } from '../errors.ts';
import type { OrdinaryUser } from './ordinary-user.ts';

const exec = promisify(execFile);
const startTimeoutMs = 60_000;
const stopTimeoutMs = 30_000;

export interface LocalServerInput {
  /** Folder with initdb and postgres. */
  readonly binDir: string;
  /** The server's own folder, made and removed by this class: data, log and socket live in it. */
  readonly dir: string;
  readonly password: string;
  readonly user: OrdinaryUser | null;
  readonly settings: Readonly<Record<string, string>>;
  /** Lines of pg_hba.conf that come before the default ones. */
  readonly hba?: readonly string[];
  /** Fixed port, or 0 to take a free one. */
  readonly port?: number;
  /** A data directory made by `initCluster`, copied instead of running initdb. */
  readonly template?: string;
}

export type StopMode = 'fast' | 'immediate';

/**
 * One throwaway PostgreSQL server: stopped → running → stopped → removed. It listens on the loopback addresses only and
 * asks for a password (scram). A watchdog process removes server and folder when this process dies without `remove()`.
 */
export class LocalServer {
  readonly input: LocalServerInput;
  readonly dataDir: string;
  readonly logFile: string;
  port: number;
  private child: ChildProcess | null = null;
  private watchdog: ChildProcess | null = null;

  constructor(input: LocalServerInput) {
    this.input = input;
    this.dataDir = join(input.dir, 'data');
    this.logFile = join(input.dir, 'server.log');
    this.port = input.port ?? 0;
  }

  get running(): boolean {
    return this.child !== null && this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Makes the data directory. The server is not started yet. */
  async create(): Promise<void> {
    const { dir, user, binDir, password, template } = this.input;
    await mkdir(dir, { recursive: true, mode: 0o755 });
    if (user !== null) await chown(dir, user.uid, user.gid);
    this.watchdog = startWatchdog(dir);
    if (template === undefined) await initCluster({ binDir, dataDir: this.dataDir, password, user });
    else await exec('cp', ['-a', template, this.dataDir]);
    const hba = [
      ...(this.input.hba ?? []),
      'local all all scram-sha-256',
      'host all all 127.0.0.1/32 scram-sha-256',
      'host all all ::1/128 scram-sha-256',
      'host replication all 127.0.0.1/32 scram-sha-256',
    ];
    await this.writeFile('pg_hba.conf', `${hba.join('\n')}\n`);
  }

  /** Writes a file into the data directory that only the server's account can read. */
  async writeFile(name: string, content: string): Promise<void> {
    const path = join(this.dataDir, name);
    await writeFile(path, content);
    await chmod(path, 0o600);
    if (this.input.user !== null) await chown(path, this.input.user.uid, this.input.user.gid);
  }

  /** @throws PgsluiceError `LOCAL_SERVER_FAILED` with the last lines of the server's log. */
  async start(extra: Readonly<Record<string, string>> = {}): Promise<void> {
    // A free port can be taken by somebody else between the look and the use; the dead server of a `kill -9` can hold its memory for a moment.
    for (let attempt = 1; ; attempt += 1) {
      if (this.port === 0) this.port = await freePort();
      const failure = await this.launch(extra);
      if (failure === null) return;
      if (
        attempt === 8 ||
        !/Address already in use|pre-existing shared memory|could not create any TCP/.test(failure)
      ) {
        throw new PgsluiceError({
          code: 'LOCAL_SERVER_FAILED',
          message: `PostgreSQL from ${this.input.binDir} did not start on port ${this.port}.`,
          hint: `The end of its log says: ${failure}`,
        });
      }
      if (this.input.port === undefined || this.input.port === 0) {
        if (/Address already in use|could not create any TCP/.test(failure)) this.port = 0;
      }
      await sleep(300);
    }
  }

  private async launch(extra: Readonly<Record<string, string>>): Promise<string | null> {
    const { binDir, dir, user } = this.input;
    const settings = {
      listen_addresses: '127.0.0.1,::1',
      port: String(this.port),
      unix_socket_directories: dir,
      ...this.input.settings,
      ...extra,
    };
    const args = [
      '-D',
      this.dataDir,
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ];
    const log = await open(this.logFile, 'a');
    const offset = (await log.stat()).size;
    const child = spawn(join(binDir, 'postgres'), args, {
      cwd: this.dataDir,
      env: serverEnvironment(dir),
      stdio: ['ignore', log.fd, log.fd],
      // Ctrl-C in a terminal reaches every process of its group; the servers are stopped in order instead.
      detached: true,
      ...(user === null ? {} : { uid: user.uid, gid: user.gid }),
    });
    let spawnError: string | null = null;
    child.on('error', (error) => {
      spawnError = error.message;
    });
    await log.close();
    this.child = child;
    const deadline = Date.now() + startTimeoutMs;
    while (Date.now() < deadline) {
      if (spawnError !== null) return spawnError;
      if (!this.running) return tail(this.logFile, offset);
      if (await isReady(this.dataDir, child.pid)) return null;
      await sleep(25);
    }
    await this.stop('immediate');
    return tail(this.logFile, offset);
  }

  async stop(mode: StopMode = 'fast'): Promise<void> {
    await this.signalAndWait(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
  }

  /** As a power cut would: no shutdown, recovery at the next start. */
  async kill9(): Promise<void> {
    await this.signalAndWait('SIGKILL');
  }

  private async signalAndWait(signal: NodeJS.Signals): Promise<void> {
    const child = this.child;
    if (child === null || !this.running) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    const patience = new AbortController();
    const late = sleep(stopTimeoutMs, 'late', { signal: patience.signal }).catch(() => 'ended');
    const first = await Promise.race([exited.then(() => 'ended'), late]);
    patience.abort();
    if (first === 'late') {
      child.kill('SIGQUIT');
      await exited;
    }
  }

  /** Stops the server and removes everything it had. Never throws for a folder that is already gone. */
  async remove(): Promise<void> {
    await this.stop('immediate');
    await rm(this.input.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    this.watchdog?.stdin?.end();
    this.watchdog = null;
  }
}

/** Makes a data directory with the superuser `postgres`, UTF-8 and the locale C.UTF-8 (macOS: C). */
export async function initCluster(input: {
  readonly binDir: string;
  readonly dataDir: string;
  readonly password: string;
  readonly user: OrdinaryUser | null;
}): Promise<void> {
  const { binDir, dataDir, password, user } = input;
  const passwordFile = `${dataDir}.password`;
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (user !== null) await chown(passwordFile, user.uid, user.gid);
  const locale = process.platform === 'linux' ? 'C.UTF-8' : 'C';
  try {
    await exec(
      join(binDir, 'initdb'),
      [
        '-D',
        dataDir,
        '-U',
        'postgres',
        `--pwfile=${passwordFile}`,
        '-A',
        'scram-sha-256',
        '-E',
        'UTF8',
        '--locale',
        locale,
        '-N',
      ],
      {
        cwd: '/',
        env: serverEnvironment(dataDir),
        ...(user === null ? {} : { uid: user.uid, gid: user.gid }),
      },
    );
  } catch (error) {
    throw new PgsluiceError({
      code: 'LOCAL_SERVER_FAILED',
      message: `initdb of ${binDir} failed.`,
      hint: error instanceof Error ? error.message : String(error),
      cause: error,
    });
  } finally {
    await rm(passwordFile, { force: true });
  }
}

function serverEnvironment(home: string): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'] ?? '/usr/bin:/bin', HOME: home, LC_ALL: 'C', TZ: 'UTC' };
}

/** The eighth line of postmaster.pid says `ready` once connections are accepted (PostgreSQL source, miscadmin.h). */
async function isReady(dataDir: string, pid: number | undefined): Promise<boolean> {
  try {
    const lines = (await readFile(join(dataDir, 'postmaster.pid'), 'utf8')).split('\n');
    return Number(lines[0]) === pid && (lines[7] ?? '').startsWith('ready');
  } catch {
    // Not written yet.
    return false;
  }
}

async function tail(file: string, offset: number): Promise<string> {
  const text = (await readFile(file, 'utf8')).slice(offset).trim();
  return text.split('\n').slice(-4).join(' | ');
}

async function freePort(): Promise<number> {
  const probe = createServer();
  probe.listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new Error('A TCP listener has no port.');
  return address.port;
}

/**
 * A shell that waits for the end of its input, which comes when this process is gone however it went, then stops the
 * server whose data directory is `dir`/data, if there is one, and removes `dir`. Nothing on Windows.
 */
export function startWatchdog(dir: string): ChildProcess | null {
  if (process.platform === 'win32') return null;
  const script =
    'trap "" INT TERM HUP; cat >/dev/null; p=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null); ' +
    '[ -n "$p" ] && kill -QUIT "$p" 2>/dev/null && sleep 1; rm -rf "$1"';
  const child = spawn('/bin/sh', ['-c', script, 'sh', dir], {
    cwd: '/',
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  child.unref();
  const { stdin } = child;
  stdin.on('error', () => {
    // The watchdog is gone before us; `remove()` does its work.
  });
  if ('unref' in stdin && typeof stdin.unref === 'function') stdin.unref();
  return child;
}
