import { createHmac } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JobState } from '../contract/event.ts';
import type { Hook, HookMoment, JobKind } from '../contract/options.ts';
import type { Report } from '../contract/report.ts';
import { maskSecrets, postJson, runProgram } from '../call-out.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { describeSettings } from '../postgres/settings.ts';
import { settingsUrl } from '../postgres/settings-url.ts';
import type { HookCall } from '../store/hook-queries.ts';
import { isVerified } from './job-report.ts';
import type { Sides } from './job-view.ts';

export const COMMAND_TIMEOUT_S = 600;
const WEBHOOK_TIMEOUT_MS = 10_000;
const TRIES = 5;
const FIRST_PAUSE_MS = 1_000;

/** What a hook is told of. */
export interface HookNews {
  readonly job: string;
  readonly name: string;
  readonly kind: JobKind;
  readonly moment: HookMoment;
  readonly state: JobState;
  readonly at: Date;
  readonly sides: Sides;
  readonly archive: string | null;
  readonly call: HookCall;
  /** Of the run that has ended; null before its end. */
  readonly report: Report | null;
}

export interface HookMeans {
  readonly allowCommands: boolean;
  /** PGSLUICE_HOOK_SECRET; null: webhooks are not signed. */
  readonly secret: string | null;
  readonly signal: AbortSignal;
  readonly log: (level: 'info' | 'warn', message: string) => void;
  /** Pause before a webhook's second try, in ms; doubles. 1000 when left out. */
  readonly firstPauseMs?: number;
}

const resultOf = (report: Report): Record<string, unknown> => ({
  status: report.state,
  verified: isVerified(report.verification),
  differences: report.verification?.differences.length ?? 0,
  tables: report.moved.tables,
  rows: report.moved.rows,
  bytes: report.moved.bytes,
  seconds: report.seconds,
  applications: report.applications ?? [],
  error: report.error,
});

/** What a webhook is sent. Holds no password. Pure. */
export function hookBody(news: HookNews): Record<string, unknown> {
  const { job, name, kind, moment, state, at, sides, archive, call, report } = news;
  return {
    job,
    name,
    kind,
    moment,
    state,
    at: at.toISOString(),
    delivery: call.delivery,
    mayBeRepeated: call.repeated,
    source: sides.source === null ? null : describeSettings(sides.source),
    target: sides.target === null ? null : describeSettings(sides.target),
    archive,
    result: report === null ? null : resultOf(report),
  };
}

/** Variables of a command's environment; the only place where the passwords of both sides are passed on. Pure. */
export function hookVariables(news: HookNews): Record<string, string> {
  const { job, name, moment, state, sides, archive, call, report } = news;
  return {
    PGSLUICE_JOB: job,
    PGSLUICE_JOB_NAME: name,
    PGSLUICE_MOMENT: moment,
    PGSLUICE_JOB_STATE: state,
    PGSLUICE_DELIVERY: call.delivery,
    PGSLUICE_MAY_BE_REPEATED: call.repeated ? 'yes' : 'no',
    ...(sides.source === null ? {} : { PGSLUICE_SOURCE_URL: settingsUrl(sides.source, true) }),
    ...(sides.target === null ? {} : { PGSLUICE_TARGET_URL: settingsUrl(sides.target, true) }),
    ...(archive === null ? {} : { PGSLUICE_ARCHIVE: archive }),
    ...(report === null ? {} : { PGSLUICE_VERIFIED: isVerified(report.verification) ? 'yes' : 'no' }),
    ...(report?.error == null ? {} : { PGSLUICE_ERROR_CODE: report.error.code }),
  };
}

/** `t=…,v1=…`: seconds since 1970, and the HMAC-SHA256 of `t.body` by the secret, in hexadecimal digits. Pure. */
export function signature(secret: string, body: string, at: Date): string {
  const t = Math.floor(at.getTime() / 1000);
  return `t=${t},v1=${createHmac('sha256', secret).update(`${t}.${body}`).digest('hex')}`;
}

/** How a hook is named to people: a webhook's path is often its secret. Pure. */
export function hookName({ command, webhook }: Hook): string {
  if (webhook !== undefined) return `webhook at ${new URL(webhook).origin}`;
  return `command ${JSON.stringify(command?.[0] ?? '')}`;
}

function failed(hook: Hook, moment: HookMoment, how: string, hint: string, cause?: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'HOOK_FAILED',
    message: `The ${hookName(hook)} of the hook ${moment} ${how}.`,
    hint,
    // Nothing was changed yet: the next attempt asks it again.
    retryable: moment === 'before-cutover',
    ...(cause === undefined ? {} : { cause }),
  });
}

async function runCommand(hook: Hook, argv: readonly string[], news: HookNews, means: HookMeans): Promise<void> {
  const { moment, sides } = news;
  if (!means.allowCommands) {
    const how = 'was not run: this agent runs no commands for its jobs';
    throw failed(hook, moment, how, 'Run it by hand, or start the agent with: pgsluice serve --allow-commands');
  }
  const seconds = hook.timeout ?? COMMAND_TIMEOUT_S;
  means.log('info', `Hook ${moment}: running the ${hookName(hook)}, for ${seconds} s at most.`);
  const secrets = [sides.source?.password ?? null, sides.target?.password ?? null, means.secret];
  const end = await runProgram({
    argv,
    env: hookVariables(news),
    timeoutMs: seconds * 1000,
    signal: means.signal,
    onLine: (stream, line) => means.log(stream === 'out' ? 'info' : 'warn', `${moment}: ${maskSecrets(line, secrets)}`),
  });
  if (end.ok) return;
  throw failed(hook, moment, end.how, 'See the log for what it printed; mend it, or run it by hand.', end.cause);
}

async function callWebhook(hook: Hook, address: string, news: HookNews, means: HookMeans): Promise<void> {
  const { moment, call } = news;
  const signed = means.secret === null ? ', unsigned, because PGSLUICE_HOOK_SECRET is not set' : '';
  means.log('info', `Hook ${moment}: calling the ${hookName(hook)}${signed}.`);
  const body = JSON.stringify(hookBody(news));
  for (let attempt = 1; ; attempt += 1) {
    throwIfAborted(means.signal);
    const headers = {
      'x-pgsluice-delivery': call.delivery,
      'x-pgsluice-moment': moment,
      ...(means.secret === null ? {} : { 'x-pgsluice-signature': signature(means.secret, body, new Date()) }),
    };
    const end = await postJson({ address, body, headers, timeoutMs: WEBHOOK_TIMEOUT_MS, signal: means.signal });
    if (end.ok) return;
    const hint = `Check that ${new URL(address).origin} answers a POST with 2xx; what it should have been told stands in the report.`;
    if (!end.again || attempt === TRIES) throw failed(hook, moment, end.how, hint, end.cause);
    const pause = (means.firstPauseMs ?? FIRST_PAUSE_MS) * 2 ** (attempt - 1);
    means.log('warn', `Hook ${moment}: the ${hookName(hook)} ${end.how}; it is tried again in ${pause / 1000} s.`);
    await sleep(pause, undefined, { signal: means.signal }).catch(() => throwIfAborted(means.signal));
  }
}

/**
 * Runs or calls one hook to its end. A command is run once; a webhook is tried up to five times while it does not answer or answers
 * 5xx. @throws PgsluiceError HOOK_FAILED; the cancellation.
 */
export async function callHook(hook: Hook, news: HookNews, means: HookMeans): Promise<void> {
  if (news.call.repeated) {
    const why =
      'an agent that ended without a word may have called it before; it is told so, under the same delivery id';
    means.log('warn', `Hook ${news.moment}: ${why}.`);
  }
  if (hook.command !== undefined) await runCommand(hook, hook.command, news, means);
  if (hook.webhook !== undefined) await callWebhook(hook, hook.webhook, news, means);
}
