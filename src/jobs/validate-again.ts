import { setTimeout as sleep } from 'node:timers/promises';
import type { CheckResult } from '../contract/check.ts';
import { type ErrorReport, PgsluiceError, throwIfAborted } from '../errors.ts';
import type { RunContext } from './run-job.ts';

export type ServerSide = 'source' | 'target';

/** What a validation answers, as far as it tells of a server that went away. */
export interface Attempt {
  readonly checks: readonly CheckResult[];
  readonly blocked: boolean;
  readonly error: ErrorReport | null;
  /** null: a server could not be examined to its end. */
  readonly facts: unknown;
}

export interface Patience {
  /** How long a server that went away is waited for, ms: a change of plan or a failover takes up to some minutes. */
  readonly awaitMs: number;
  /** Pause between two looks, ms. */
  readonly lookEveryMs: number;
  /** How often a validation that lost a server in its middle is made anew: more often, and it is no restart. */
  readonly mostLosses: number;
}

export const usualPatience: Patience = { awaitMs: 300_000, lookEveryMs: 1000, mostLosses: 5 };

/** How a server's going away reads to who asks it. */
const goneCodes: ReadonlySet<string> = new Set([
  'CONNECTION_LOST',
  'CONNECTION_REFUSED',
  'CONNECT_TIMEOUT',
  'HOST_UNREACHABLE',
  'NOT_POSTGRESQL',
  'SERVER_STARTING',
  'UNKNOWN_HOST',
]);
const starting = 'SERVER_STARTING';
const sides = ['source', 'target'] as const;

const connectIds: readonly string[] = sides.map((side) => `connect.${side}`);

/** Sides that a validation had reached. Pure. */
export function reachedIn(checks: readonly Pick<CheckResult, 'id' | 'outcome'>[]): ServerSide[] {
  return sides.filter((side) =>
    checks.some(({ id, outcome }) => id === `connect.${side}` && outcome !== 'failed' && outcome !== 'skipped'),
  );
}

/**
 * What of the validation says that a server went away in its middle, or is about to come: waiting helps. An address that has
 * never answered is a person's to correct, at once. null where nothing says it. Pure.
 */
export function goneIn(
  attempt: Attempt,
  known: ReadonlySet<ServerSide>,
): { side: ServerSide | null; why: string } | null {
  for (const { id, outcome, code, found, side } of attempt.checks) {
    if (outcome !== 'failed' || code === null || !goneCodes.has(code)) continue;
    const unreached = sides.find((one) => id === `connect.${one}`);
    if (unreached !== undefined && code !== starting && !known.has(unreached)) continue;
    const named = side === 'source' || side === 'target' ? side : sides.find((one) => found.includes(`The ${one} `));
    return { side: unreached ?? named ?? null, why: found };
  }
  const unsaid = !attempt.blocked && attempt.facts === null;
  return unsaid ? { side: null, why: 'A connection was lost in the middle of the checks.' } : null;
}

export interface PatientValidation<T extends Attempt> {
  readonly context: Pick<RunContext, 'signal' | 'emit' | 'totals' | 'clearChecks'>;
  /** One validation; with `only`, of these checks, which are told to nobody. */
  readonly validate: (only?: readonly string[]) => Promise<T>;
  readonly patience?: Patience;
}

/**
 * Validates; where a server that had answered goes away in the middle, as one does that is restarted, it is waited for and the
 * validation made anew, as a whole: what is told is always of one validation. Bounded; what it waits for and since when stands in
 * the log and in the metrics.
 * @throws the signal's reason.
 */
export async function validatePatiently<T extends Attempt>(input: PatientValidation<T>): Promise<T> {
  const { context, validate, patience = usualPatience } = input;
  const known = new Set(await context.clearChecks());
  for (let losses = 1; ; losses += 1) {
    const attempt = await caught(context, validate);
    for (const side of 'checks' in attempt ? reachedIn(attempt.checks) : []) known.add(side);
    const gone = 'checks' in attempt ? goneIn(attempt, known) : { side: null, why: attempt.message };
    const goesOn = gone !== null && losses <= patience.mostLosses && (await comesBack(input, patience, known, gone));
    if (!goesOn) {
      if ('checks' in attempt) return attempt;
      throw attempt;
    }
    await context.clearChecks();
  }
}

/** What is thrown because a server went away is an attempt as well. */
async function caught<T extends Attempt>(
  { signal }: Pick<RunContext, 'signal'>,
  validate: () => Promise<T>,
): Promise<T | PgsluiceError> {
  try {
    return await validate();
  } catch (error) {
    throwIfAborted(signal);
    if (error instanceof PgsluiceError && error.retryable && goneCodes.has(error.code)) return error;
    throw error;
  }
}

/** False when the server has not come back in time. */
async function comesBack<T extends Attempt>(
  { context, validate }: PatientValidation<T>,
  patience: Patience,
  known: ReadonlySet<ServerSide>,
  { side, why }: { readonly side: ServerSide | null; readonly why: string },
): Promise<boolean> {
  const { signal } = context;
  const since = new Date();
  const who = side === null ? 'a server' : `the ${side}`;
  const most = Math.round(patience.awaitMs / 1000);
  const log = (level: 'info' | 'warn', message: string): void => context.emit({ type: 'log', level, message });
  log(
    'warn',
    `${who.replace(/^./, (letter) => letter.toUpperCase())} went away in the middle of the checks: ${why} Waiting for it for up to ${most} s, then everything is checked anew.`,
  );
  tellWaiting(context, { what: `${who} to answer again`, since: since.toISOString() });
  try {
    while (Date.now() - since.getTime() < patience.awaitMs) {
      await sleep(patience.lookEveryMs, undefined, { signal }).catch(() => throwIfAborted(signal));
      const look = await caught(context, () => validate(connectIds));
      const still = 'checks' in look ? goneIn({ ...look, blocked: true }, known) : look;
      if (still !== null) continue;
      const seconds = ((Date.now() - since.getTime()) / 1000).toFixed(1);
      log('info', `It answers again after ${seconds} s. Checking everything anew.`);
      return true;
    }
    log('warn', `It has not answered for ${most} s and is not waited for any longer.`);
    return false;
  } finally {
    tellWaiting(context, null);
  }
}

function tellWaiting(
  { emit, totals }: Pick<RunContext, 'emit' | 'totals'>,
  waiting: { what: string; since: string } | null,
): void {
  const { tables, tablesDone, rows, bytes, fraction } = totals();
  const still = { bytesPerSecond: 0, rowsPerSecond: 0, remaining: null };
  emit({ type: 'metric', tables, tablesDone, rows, bytes, fraction, ...still, waiting });
}
