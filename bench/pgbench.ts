import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TestServer } from '../test/support/servers.ts';

const exec = promisify(execFile);

/** One second of pgbench. */
export interface Second {
  /** Moment of its end, ms as of Date.now(). */
  readonly at: number;
  readonly tps: number;
  /** Mean latency, ms. */
  readonly latency: number;
}

const clients = 4;

/** A line of `pgbench --progress=1`; null for any other. */
export function parseProgress(line: string, at: number): Second | null {
  const match = /^progress: [\d.]+ s, ([\d.]+) tps, lat ([\d.]+) ms/.exec(line);
  return match === null ? null : { at, tps: Number(match[1]), latency: Number(match[2]) };
}

const environment = (server: TestServer): NodeJS.ProcessEnv => ({
  PATH: process.env['PATH'] ?? '',
  LC_ALL: 'C',
  PGPASSWORD: server.password,
});

const place = (server: TestServer, database: string): string[] => [
  '-h',
  server.host,
  '-p',
  String(server.port),
  '-U',
  server.user,
  database,
];

/** pgbench's own tables, `scale` times 100,000 accounts (15 MB). */
export async function initialise(server: TestServer, database: string, scale: number): Promise<void> {
  const args = ['-i', '-q', '-s', String(scale), ...place(server, database)];
  await exec(join(server.binDir, 'pgbench'), args, { env: environment(server), maxBuffer: 1 << 24 });
}

/** Those who use the source: pgbench's mix of reads and writes, until it is stopped. */
export class Users {
  readonly seconds: Second[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #rest = '';
  #errors = '';

  /** `rate`: transactions a second that are asked for; null: as many as go. */
  constructor(server: TestServer, database: string, rate: number | null) {
    const limit = rate === null ? [] : ['-R', String(rate)];
    const args = [
      '-n',
      '-c',
      String(clients),
      '-j',
      '1',
      '-T',
      '36000',
      '-P',
      '1',
      ...limit,
      ...place(server, database),
    ];
    this.#child = spawn(join(server.binDir, 'pgbench'), args, {
      env: environment(server),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#ended = new Promise((resolve) => this.#child.once('exit', () => resolve()).once('error', () => resolve()));
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => this.#read(text));
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const second = parseProgress(line, Date.now());
      if (second !== null) this.seconds.push(second);
      else if (/error|fatal|aborted/i.test(line)) this.#errors += `${line}\n`;
    }
  }

  /** Whole seconds between two moments, ms as of Date.now(). @throws Error when pgbench has had an error. */
  between(from: number, to: number): Second[] {
    if (this.#errors !== '') throw new Error(`pgbench did not work throughout: ${this.#errors.slice(0, 500)}`);
    return this.seconds.filter(({ at }) => at - 1000 >= from && at <= to);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null) this.#child.kill('SIGINT');
    await this.#ended;
  }
}
