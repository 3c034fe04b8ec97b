import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { JobEvent, ResultEvent } from '../../src/contract/event.ts';
import { root } from './binaries.ts';
import { fillState } from './fresh-state.ts';

export interface CliOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Folder with pg_dump and pg_restore. */
  readonly pgBin?: string | undefined;
  /** State directory, filled where it is empty (fresh-state.ts); by default one of its own, removed afterwards. */
  readonly state?: string;
  /** Called with every JSON line as it comes, for tests that act in the middle of a job. */
  readonly onEvent?: (event: JobEvent | ResultEvent, kill: (signal: NodeJS.Signals) => void) => void;
  /** ms after which the process is killed; three minutes by default. */
  readonly timeoutMs?: number;
}

export interface CliOutcome {
  /** Exit code, or -1 when a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Lines of --json but for the last. */
  readonly events: readonly JobEvent[];
  readonly result: ResultEvent | null;
  readonly seconds: number;
}

/** Runs the built command line as a user would: `node bin/pgsluice.js …`. */
export async function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliOutcome> {
  if (!existsSync(join(root, 'dist/agent/main.js')))
    throw new Error('dist/ is missing: run `npm run build` before these tests.');
  const state = options.state ?? (await mkdtemp(join(tmpdir(), 'pgsluice-test-state-')));
  await fillState(state, options.env?.['PGSLUICE_SECRET_KEY'] ?? null);
  const begun = Date.now();
  try {
    const child = spawn(process.execPath, [join(root, 'bin/pgsluice.js'), ...args], {
      cwd: tmpdir(),
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: state,
        TMPDIR: tmpdir(),
        PGSLUICE_STATE: state,
        ...(options.pgBin === undefined ? {} : { PGSLUICE_PG_BIN: options.pgBin }),
        ...options.env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const lines = new LineReader((line) => {
      const event = parseLine(line);
      if (event !== null) options.onEvent?.(event, (signal) => child.kill(signal));
    });
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => lines.push(text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 180_000);
    const code = await new Promise<number>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (status) => resolve(status ?? -1));
    });
    clearTimeout(timer);
    lines.end();
    const parsed = lines.all.map(parseLine).filter((event) => event !== null);
    const last = parsed.at(-1);
    const result = last !== undefined && last.type === 'result' ? last : null;
    return {
      code,
      stdout: lines.all.join('\n'),
      stderr,
      events: parsed.filter((event): event is JobEvent => 'seq' in event),
      result,
      seconds: (Date.now() - begun) / 1000,
    };
  } finally {
    if (options.state === undefined) await rm(state, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

/** Every line has to be as the contract says; events carry seq, the last line does not. */
function parseLine(line: string): JobEvent | ResultEvent | null {
  if (!line.startsWith('{')) return null;
  const value: unknown = JSON.parse(line);
  const event = typeof value === 'object' && value !== null && 'seq' in value;
  return event ? JobEvent.parse(value) : ResultEvent.parse(value);
}

class LineReader {
  readonly all: string[] = [];
  readonly #onLine: (line: string) => void;
  #rest = '';

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  push(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#take(line);
  }

  end(): void {
    if (this.#rest !== '') this.#take(this.#rest);
    this.#rest = '';
  }

  #take(line: string): void {
    this.all.push(line);
    this.#onLine(line);
  }
}
