import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from './binaries.ts';
import { fillState } from './fresh-state.ts';

export interface Daemon {
  readonly url: string;
  readonly port: number;
  readonly token: string;
  /** JSON of the API; throws with the body when the answer is not 2xx. */
  api(path: string, init?: { method?: string; body?: unknown }): Promise<unknown>;
  /** Ends with SIGTERM, as a service manager would; resolves when the process is gone. */
  stop(): Promise<void>;
  /** Ends without warning; resolves when the process is gone. */
  kill9(): Promise<void>;
}

/** Starts the built daemon as a user would: `pgsluice serve` with its state in `state`, filled where that is empty (fresh-state.ts). */
export async function startDaemon(
  state: string,
  port = 0,
  env: Record<string, string> = {},
  args: readonly string[] = [],
): Promise<Daemon> {
  await fillState(state, env['PGSLUICE_SECRET_KEY'] ?? null);
  const child = spawn(process.execPath, [join(root, 'bin/pgsluice.js'), 'serve', '--port', String(port), ...args], {
    cwd: tmpdir(),
    env: { PATH: process.env['PATH'] ?? '', HOME: state, TMPDIR: tmpdir(), PGSLUICE_STATE: state, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
  const file = await waitForFile(join(state, 'daemon.json'), child, () => output);
  const { url, token } = JSON.parse(file) as { url: string; token: string };
  return {
    url,
    token,
    port: Number(new URL(url).port),
    api: async (path, init = {}) => {
      const response = await fetch(`${url}${path}`, {
        method: init.method ?? 'GET',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        ...(init.body === undefined ? {} : { body: JSON.stringify(init.body) }),
      });
      const text = await response.text();
      if (!response.ok) throw new Error(`${path} answered ${response.status}: ${text}`);
      return text === '' ? null : JSON.parse(text);
    },
    stop: async () => {
      if (child.exitCode !== null) return;
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await gone;
    },
    kill9: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
    },
  };
}

/** Starts a daemon and ends it without warning `ms` later, wherever it is then; resolves when the process is gone. */
export async function killStarting(state: string, ms: number, env: Record<string, string> = {}): Promise<void> {
  const child = spawn(process.execPath, [join(root, 'bin/pgsluice.js'), 'serve', '--port', '0'], {
    cwd: tmpdir(),
    env: { PATH: process.env['PATH'] ?? '', HOME: state, TMPDIR: tmpdir(), PGSLUICE_STATE: state, ...env },
    stdio: 'ignore',
  });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  const timer = setTimeout(() => child.kill('SIGKILL'), ms);
  await gone;
  clearTimeout(timer);
}

async function waitForFile(path: string, child: ChildProcess, output: () => string): Promise<string> {
  const until = Date.now() + 90_000;
  while (Date.now() < until) {
    if (child.exitCode !== null) throw new Error(`pgsluice serve ended with ${child.exitCode}: ${output()}`);
    try {
      const text = await readFile(path, 'utf8');
      if (text !== '' && (JSON.parse(text) as { pid: number }).pid === child.pid) return text;
    } catch (error) {
      // Not there or not whole yet.
      if (!(error instanceof Error)) throw error;
    }
    await sleep(50);
  }
  child.kill('SIGKILL');
  throw new Error(`pgsluice serve did not get ready in 90 s: ${output()}`);
}
