import { spawn } from 'node:child_process';
import { request as requestPlainly } from 'node:http';
import { request as requestSecurely } from 'node:https';
import { createInterface } from 'node:readline';
import { PgsluiceError, throwIfAborted } from './errors.ts';
import { reach } from './reach.ts';

/** Of one line of a program's output, in characters. */
const LONGEST_LINE = 2000;

/** Takes every spelling of the secrets out of a text. Pure. */
export function maskSecrets(text: string, secrets: readonly (string | null)[]): string {
  const spellings = secrets.flatMap((secret) =>
    secret === null || secret === ''
      ? []
      : [
          secret,
          encodeURIComponent(secret),
          encodeURI(secret),
          JSON.stringify(secret).slice(1, -1),
          secret.replaceAll("'", "''"),
          Buffer.from(secret).toString('base64'),
          Buffer.from(secret).toString('base64url'),
        ],
  );
  return [...new Set(spellings)]
    .toSorted((a, b) => b.length - a.length)
    .reduce((masked, spelling) => masked.replaceAll(spelling, '***'), text);
}

export interface ProgramInput {
  /** Program and arguments; no shell reads them. */
  readonly argv: readonly string[];
  /** Variables that it is given beside PATH and HOME; nothing else of this process reaches it. */
  readonly env: Readonly<Record<string, string>>;
  /** ms; then it is killed with everything it has started. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** A line that it printed, at most 2,000 characters. */
  readonly onLine: (stream: 'out' | 'err', line: string) => void;
}

/** How a program ended: `failed` in words that follow its name. */
export type ProgramEnd = { readonly ok: true } | { readonly ok: false; readonly how: string; readonly cause?: Error };

/** Runs a program of this machine to its end. @throws the cancellation, after the program was killed. */
export async function runProgram(input: ProgramInput): Promise<ProgramEnd> {
  const [program, ...args] = input.argv;
  if (program === undefined) return { ok: false, how: 'names no program' };
  throwIfAborted(input.signal);
  const kept = ['PATH', 'HOME'].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  // A group of its own, so that what it has started ends with it.
  const child = spawn(program, args, {
    env: { ...Object.fromEntries(kept), ...input.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const kill = (): void => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // Its whole group has ended by itself.
      child.kill('SIGKILL');
    }
  };
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    kill();
  }, input.timeoutMs);
  input.signal.addEventListener('abort', kill, { once: true });
  const tell = (stream: 'out' | 'err') => (line: string) => input.onLine(stream, line.slice(0, LONGEST_LINE));
  createInterface({ input: child.stdout }).on('line', tell('out'));
  createInterface({ input: child.stderr }).on('line', tell('err'));
  try {
    const end = await new Promise<string | Error>((resolve) => {
      child.once('error', resolve);
      child.once('close', (code, signal) => resolve(signal === null ? `exit code ${code}` : `signal ${signal}`));
    });
    throwIfAborted(input.signal);
    if (end instanceof Error) return { ok: false, how: `could not be started: ${end.message}`, cause: end };
    if (late) return { ok: false, how: `took longer than ${input.timeoutMs / 1000} s and was ended` };
    return end === 'exit code 0' ? { ok: true } : { ok: false, how: `ended with ${end}` };
  } finally {
    clearTimeout(timer);
    input.signal.removeEventListener('abort', kill);
  }
}

export interface PostInput {
  readonly address: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** ms for the whole exchange. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** What came of a POST; `status` null: no answer. `again`: the same call may succeed later. */
export interface PostEnd {
  readonly ok: boolean;
  readonly status: number | null;
  /** Follows the address. */
  readonly how: string;
  readonly again: boolean;
  readonly cause?: unknown;
}

/** One POST, whose answer's body nobody reads. */
function send(input: PostInput, signal: AbortSignal): Promise<number> {
  const url = new URL(input.address);
  const request = url.protocol === 'https:' ? requestSecurely : requestPlainly;
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const limits = reach();
  // A name is judged by its addresses when they are dialled; an address is dialled without a look-up.
  limits.assertNamed(host, port);
  return new Promise((resolve, reject) => {
    const call = request(url, {
      method: 'POST',
      headers: {
        ...input.headers,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(input.body),
      },
      lookup: limits.lookupFor(port),
      // A connection of its own, so that each is judged.
      agent: false,
      signal,
    });
    call.once('error', reject);
    call.once('response', (answer) => {
      resolve(answer.statusCode ?? 0);
      answer.destroy();
    });
    call.end(input.body);
  });
}

/** Posts JSON; follows no redirect, because it would be the address of somebody who was not named. @throws the cancellation. */
export async function postJson(input: PostInput): Promise<PostEnd> {
  const late = AbortSignal.timeout(input.timeoutMs);
  try {
    const status = await send(input, AbortSignal.any([input.signal, late]));
    return { ok: status >= 200 && status <= 299, status, how: `answered ${status}`, again: status >= 500 };
  } catch (cause) {
    throwIfAborted(input.signal);
    if (cause instanceof PgsluiceError) {
      return { ok: false, status: null, how: `was not called: ${cause.message}`, again: false, cause };
    }
    const why = cause instanceof Error && cause.message !== '' ? cause.message : String(cause);
    const how = late.aborted ? `did not answer within ${input.timeoutMs / 1000} s` : `could not be reached: ${why}`;
    return { ok: false, status: null, how, again: true, cause };
  }
}
