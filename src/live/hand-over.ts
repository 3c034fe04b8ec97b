import { setTimeout as sleep } from 'node:timers/promises';
import type { HandOver } from '../contract/options.ts';
import { maskSecrets, postJson, runProgram } from '../call-out.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { settingsUrl } from '../postgres/settings-url.ts';

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

/** What the webhook is sent. Holds no password. Pure. */
export function webhookBody(job: string, target: ConnectionSettings, at: Date): Record<string, unknown> {
  const { host, port, database, user, sslmode } = target;
  return {
    job,
    event: 'cutover',
    target: { host, port, database, user, sslmode, url: settingsUrl(target, false) },
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

async function runCommand(input: HandOverInput, argv: readonly string[]): Promise<void> {
  const { target, job, signal } = input;
  const end = await runProgram({
    argv,
    env: { PGSLUICE_TARGET_URL: settingsUrl(target, true), PGSLUICE_JOB: job },
    timeoutMs: COMMAND_TIMEOUT_MS,
    signal,
    onLine: (stream, line) =>
      input.log(stream === 'out' ? 'info' : 'warn', `hand-over: ${maskSecrets(line, [target.password])}`),
  });
  if (end.ok) return;
  const hint = `See the log for what it printed; run it by hand with PGSLUICE_TARGET_URL and PGSLUICE_JOB=${job} in its environment.`;
  throw failed(`The hand-over command ${JSON.stringify(argv[0])} ${end.how}.`, hint, end.cause);
}

async function callWebhook(input: HandOverInput, address: string, body: string): Promise<void> {
  const end = await postJson({ address, body, timeoutMs: WEBHOOK_TIMEOUT_MS, signal: input.signal });
  if (end.ok) return;
  // The path of a webhook is often its secret.
  const { origin } = new URL(address);
  const hint = `Check that ${origin} answers a POST with 2xx, and tell your application the new address: ${settingsUrl(input.target, false)}`;
  throw failed(`The hand-over webhook at ${origin} ${end.how}.`, hint, end.cause);
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
  if (done.length === 0) return { detail: `Nobody is told; the new address is ${settingsUrl(target, false)}` };
  return { detail: done.join(' ') };
}

function forbidden(): PgsluiceError {
  return new PgsluiceError({
    code: 'HAND_OVER_COMMAND_FORBIDDEN',
    message: 'This agent does not run hand-over commands of jobs.',
    hint: 'Allow it where the agent is started, or use a webhook; run the command by hand now.',
  });
}
