import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { HandOver } from '../contract/options.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { type ConnectionSettings, isUnixSocket } from '../postgres/settings.ts';

export interface HandOverInput {
  /** null: nobody is told. */
  readonly handOver: HandOver | null;
  readonly target: ConnectionSettings;
  readonly job: string;
  readonly signal: AbortSignal;
  /** Whether whoever started this agent allows its jobs to run programs. */
  readonly allowCommand: boolean;
  readonly log: (level: 'info' | 'warn', message: string) => void;
  /** Pause before the second attempt in ms; doubles. 1000 when left out. */
  readonly firstPauseMs?: number;
}

const COMMAND_TIMEOUT_MS = 30_000;
const WEBHOOK_TIMEOUT_MS = 10_000;
const ATTEMPTS = 3;
const FIRST_PAUSE_MS = 1000;
/** Of one line of the command's output, in characters. */
const LONGEST_LINE = 2000;

/** A URL that every PostgreSQL client reads; a Unix socket stands in its `host` parameter. Pure. */
export function targetUrl(target: ConnectionSettings, withPassword: boolean): string {
  const user = encodeURIComponent(target.user);
  const secret = withPassword && target.password !== null ? `:${encodeURIComponent(target.password)}` : '';
  const socket = isUnixSocket(target.host);
  const host = target.host.includes(':') ? `[${target.host}]` : encodeURIComponent(target.host);
  // libpq reads a + as itself, so URLSearchParams' spelling of a space would change the value.
  const parameters = [
    ...(socket ? [`host=${encodeURIComponent(target.host)}`, `port=${target.port}`] : []),
    `sslmode=${target.sslmode}`,
    ...(target.sslrootcert === null ? [] : [`sslrootcert=${encodeURIComponent(target.sslrootcert)}`]),
  ];
  const place = socket ? '' : `${host}:${target.port}`;
  return `postgres://${user}${secret}@${place}/${encodeURIComponent(target.database)}?${parameters.join('&')}`;
}

/** Takes every spelling of the password out of a text. Pure. */
export function maskPassword(text: string, password: string | null): string {
  if (password === null || password === '') return text;
  const base64 = Buffer.from(password).toString('base64');
  const spellings = [password, encodeURIComponent(password), encodeURI(password), base64];
  return [...new Set(spellings)]
    .toSorted((a, b) => b.length - a.length)
    .reduce((masked, spelling) => masked.replaceAll(spelling, '***'), text);
}

/** What the webhook is sent. Holds no password. Pure. */
export function webhookBody(job: string, target: ConnectionSettings, at: Date): Record<string, unknown> {
  const { host, port, database, user, sslmode } = target;
  return {
    job,
    event: 'cutover',
    target: { host, port, database, user, sslmode, url: targetUrl(target, false) },
    at: at.toISOString(),
  };
}

function failed(message: string, hint: string, cause?: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'HAND_OVER_FAILED',
    message,
    hint,
    retryable: true,
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Tries again what may pass by itself; a refusal of ours is final. */
async function attempts(input: HandOverInput, what: string, once: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    throwIfAborted(input.signal);
    try {
      return await once();
    } catch (error) {
      throwIfAborted(input.signal);
      if (!(error instanceof PgsluiceError) || !error.retryable || attempt === ATTEMPTS) throw error;
      const pause = (input.firstPauseMs ?? FIRST_PAUSE_MS) * 2 ** (attempt - 1);
      input.log('warn', `${error.message} The ${what} is tried again in ${pause / 1000} s.`);
      await sleep(pause, undefined, { signal: input.signal }).catch(() => throwIfAborted(input.signal));
    }
  }
}

function passEnvironment(input: HandOverInput): NodeJS.ProcessEnv {
  const kept = ['PATH', 'HOME'].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return {
    ...Object.fromEntries(kept),
    PGSLUICE_TARGET_URL: targetUrl(input.target, true),
    PGSLUICE_JOB: input.job,
  };
}

async function runCommand(input: HandOverInput, argv: readonly string[]): Promise<void> {
  const [program, ...args] = argv;
  if (program === undefined) return;
  const name = JSON.stringify(program);
  const hint = `See the log for what it printed; run it by hand with PGSLUICE_TARGET_URL and PGSLUICE_JOB=${input.job} in its environment.`;
  // A group of its own, so that what it has started ends with it.
  const child = spawn(program, args, {
    env: passEnvironment(input),
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
  }, COMMAND_TIMEOUT_MS);
  input.signal.addEventListener('abort', kill, { once: true });
  const tell = (level: 'info' | 'warn') => (line: string) => {
    input.log(level, `hand-over: ${maskPassword(line.slice(0, LONGEST_LINE), input.target.password)}`);
  };
  createInterface({ input: child.stdout }).on('line', tell('info'));
  createInterface({ input: child.stderr }).on('line', tell('warn'));
  try {
    const end = await new Promise<string | Error>((resolve) => {
      child.once('error', resolve);
      child.once('close', (code, signal) => resolve(signal === null ? `exit code ${code}` : `signal ${signal}`));
    });
    throwIfAborted(input.signal);
    if (end instanceof Error)
      throw failed(`The hand-over command ${name} could not be started: ${end.message}.`, hint, end);
    if (late)
      throw failed(
        `The hand-over command ${name} took longer than ${COMMAND_TIMEOUT_MS / 1000} s and was ended.`,
        hint,
      );
    if (end !== 'exit code 0') throw failed(`The hand-over command ${name} ended with ${end}.`, hint);
  } finally {
    clearTimeout(timer);
    input.signal.removeEventListener('abort', kill);
  }
}

async function callWebhook(input: HandOverInput, address: string, body: string): Promise<void> {
  // The path of a webhook is often its secret.
  const { origin } = new URL(address);
  const hint = `Check that ${origin} answers a POST with 2xx, and tell your application the new address: ${targetUrl(input.target, false)}`;
  let status: number;
  try {
    const answer = await fetch(address, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
      redirect: 'manual',
      signal: AbortSignal.any([input.signal, AbortSignal.timeout(WEBHOOK_TIMEOUT_MS)]),
    });
    status = answer.status;
    await answer.body?.cancel();
  } catch (error) {
    throwIfAborted(input.signal);
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
    throw failed(`The hand-over webhook at ${origin} could not be reached: ${cause}.`, hint, error);
  }
  if (status < 200 || status > 299) throw failed(`The hand-over webhook at ${origin} answered ${status}.`, hint);
}

/**
 * Tells the world that the target has taken over: a program of the agent's machine, a webhook, or both in this order. Each is tried up to
 * three times; one that succeeded is not repeated for the other's sake. The password reaches the program's environment only.
 * @returns what was done, one sentence.
 * @throws PgsluiceError HAND_OVER_FAILED when an attempt was the last, HAND_OVER_COMMAND_FORBIDDEN; the cancellation.
 */
export async function runHandOver(input: HandOverInput): Promise<{ readonly detail: string }> {
  const { handOver, target, job, allowCommand } = input;
  const command = handOver?.command;
  const webhook = handOver?.webhook;
  const done: string[] = [];
  const failures: PgsluiceError[] = [];
  const attempt = async (what: string, label: string, once: () => Promise<void>): Promise<void> => {
    try {
      await attempts(input, what, once);
      done.push(label);
    } catch (error) {
      throwIfAborted(input.signal);
      if (!(error instanceof PgsluiceError)) throw error;
      failures.push(error);
    }
  };
  if (command !== undefined) {
    await attempt('command', `Ran ${JSON.stringify(command[0])}.`, async () => {
      if (!allowCommand) throw forbidden();
      await runCommand(input, command);
    });
  }
  if (webhook !== undefined) {
    const body = JSON.stringify(webhookBody(job, target, new Date()));
    await attempt('webhook', `Called ${new URL(webhook).origin}.`, () => callWebhook(input, webhook, body));
  }
  const [first] = failures;
  if (first !== undefined) throw first;
  if (done.length === 0) return { detail: `Nobody is told; the new address is ${targetUrl(target, false)}` };
  return { detail: done.join(' ') };
}

function forbidden(): PgsluiceError {
  return new PgsluiceError({
    code: 'HAND_OVER_COMMAND_FORBIDDEN',
    message: 'This agent does not run hand-over commands of jobs.',
    hint: 'Allow it where the agent is started, or use a webhook; run the command by hand now.',
  });
}
