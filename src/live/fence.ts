import { setTimeout as sleep } from 'node:timers/promises';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { type Lsn, parseLsn } from '../postgres/lsn.ts';
import { type Session, openSession } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import type { Backend } from './cutover-commit.ts';
import { takeLocks } from './fence-lock.ts';
import type { Fence, FencePlan, OtherSession, ReadOnlyState } from './fence-types.ts';
import { describeOthers, endOthers, listOthers, listWriters, terminate } from './other-sessions.ts';
import { readReadOnlyDefault, setReadOnlyDefault, undoReadOnly } from './read-only.ts';

export { chooseFence } from './fence-plan.ts';
export type { Fence, FencePlan, ReadOnlyState } from './fence-types.ts';
export { undoReadOnly, undoReadOnlySql } from './read-only.ts';

export interface RaiseFenceInput {
  /** Of the source. */
  readonly settings: ConnectionSettings;
  readonly job: string;
  readonly plan: FencePlan;
  /** When it fires, the fence's sessions close and with them its locks go. */
  readonly signal: AbortSignal;
  /** Attempts end then; ms since 1970. */
  readonly deadlineAt: number;
  /** What it waits for, one sentence. */
  readonly onState: (text: string) => void;
  /** Stores the database's default before it is changed; null once it has been undone. */
  readonly record: (state: ReadOnlyState | null) => Promise<void>;
  /** What an earlier run recorded and has not undone: the truth about before, which stays recorded whatever happens here. */
  readonly recorded?: ReadOnlyState | null;
  /** Who may still make the database read-only, however dead the line is; null when nobody does. */
  readonly onAltering?: (by: Backend | null) => void;
  readonly log: (level: 'info' | 'warn', message: string) => void;
  /** Called once when the fence fell without `lift`. */
  readonly onLost?: (error: PgsluiceError) => void;
  /** ms since 1970 */
  readonly now?: () => number;
}

const WATCH = 'fence-watch';
const PING_EVERY_MS = 1000;
const PING_TIMEOUT_MS = 3000;
const SWEEP_EVERY_MS = 200;
const POLL_MS = 10;
/** A session that is just starting has read the old default already, and shows in pg_stat_activity this much later at the latest. */
const STARTING_MS = 150;
const END_TIMEOUT_MS = 5000;

/** Writes WAL and so has its commit flushed, without changing anything; a consumer of the slot is sent no transaction for it. */
const EMIT = `BEGIN READ WRITE; SET LOCAL synchronous_commit = local;
SELECT txid_current(), pg_logical_emit_message(false, 'pgsluice', 'fence'); COMMIT`;
/** For a role that may not emit; the WAL writer flushes it within three times wal_writer_delay. */
const ASSIGN = 'BEGIN READ WRITE; SELECT txid_current(); COMMIT';

function lostError(why: string, cause?: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'FENCE_LOST',
    message: `The fence on the source fell before the hand-over: ${why}`,
    hint: 'Nothing was handed over and writers go on. See the server log for why that session ended, and start the cutover again.',
    retryable: true,
    ...(cause === undefined ? {} : { cause }),
  });
}

const words = (error: unknown): string => (error instanceof Error ? error.message : String(error));

class StandingFence implements Fence {
  readonly means: FencePlan['means'];
  readonly attempts: number;
  readonly raisedAt: number;
  readonly #input: RaiseFenceInput;
  readonly #watcher: Session;
  /** Holds the locks; null under read-only. */
  readonly #holder: Session | null;
  readonly #now: () => number;
  #lost: PgsluiceError | null = null;
  #lifted = false;
  #readOnly: ReadOnlyState | null;
  #pinger: NodeJS.Timeout | null = null;
  #sweeping: Promise<void> = Promise.resolve();
  #sweeper = new AbortController();

  constructor(
    input: RaiseFenceInput,
    sessions: { readonly watcher: Session; readonly holder: Session | null },
    raised: { readonly attempts: number; readonly startedAt: number; readonly readOnly: ReadOnlyState | null },
  ) {
    this.#input = input;
    this.means = input.plan.means;
    this.attempts = raised.attempts;
    this.raisedAt = raised.startedAt;
    this.#watcher = sessions.watcher;
    this.#holder = sessions.holder;
    this.#readOnly = raised.readOnly;
    this.#now = input.now ?? Date.now;
    const guarded = sessions.holder ?? sessions.watcher;
    guarded.client.once('end', () => this.#fall('its session ended.'));
    this.#pinger = setInterval(() => {
      this.#ping(guarded).catch((error: unknown) => this.#fall(words(error), error));
    }, PING_EVERY_MS);
    this.#pinger.unref();
  }

  #fall(why: string, cause?: unknown): void {
    if (this.#lifted || this.#lost !== null || this.#input.signal.aborted) return;
    this.#lost = lostError(why, cause);
    this.#stopTimers();
    this.#input.onLost?.(this.#lost);
  }

  async #ping(session: Session): Promise<void> {
    const timeout = new AbortController();
    const late = sleep(PING_TIMEOUT_MS, 'late' as const, { signal: timeout.signal, ref: false }).catch(
      () => 'answered' as const,
    );
    try {
      const asked = session.query('SELECT 1');
      asked.catch(() => undefined);
      if ((await Promise.race([asked, late])) === 'late')
        throw new Error(`its session gave no answer within ${PING_TIMEOUT_MS / 1000} s.`);
    } finally {
      timeout.abort();
    }
  }

  async assertStanding(): Promise<void> {
    throwIfAborted(this.#input.signal);
    if (this.#lost !== null) throw this.#lost;
    if (this.#lifted) throw lostError('it was lifted.');
    try {
      await this.#ping(this.#holder ?? this.#watcher);
      if (this.means === 'read-only') await this.#assertReadOnly();
    } catch (error) {
      throwIfAborted(this.#input.signal);
      this.#fall(words(error), error);
      throw this.#lost ?? error;
    }
  }

  async #assertReadOnly(): Promise<void> {
    if ((await readReadOnlyDefault(this.#watcher)).before !== 'on') {
      throw new Error('somebody has changed default_transaction_read_only of the database.');
    }
    const writers = await listWriters(this.#watcher, WATCH, this.#input.plan.tables, 'written');
    if (writers.length > 0) {
      throw new Error(
        `somebody writes in spite of default_transaction_read_only: ${describeOthers(writers, this.#now())}.`,
      );
    }
  }

  async lsn(): Promise<Lsn> {
    const [row] = await this.#watcher.query<{ lsn: string }>('SELECT pg_current_wal_insert_lsn()::text AS lsn');
    const lsn = parseLsn(row?.lsn ?? '');
    await this.#writeWal();
    for (;;) {
      const [flushed] = await this.#watcher.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn()::text AS lsn');
      if (parseLsn(flushed?.lsn ?? '') >= lsn) return lsn;
      await sleep(POLL_MS, undefined, { signal: this.#input.signal }).catch(() => throwIfAborted(this.#input.signal));
    }
  }

  async #writeWal(): Promise<void> {
    try {
      await this.#watcher.run(EMIT);
    } catch (error) {
      const state = sqlStateOf(error);
      if (state !== SQLSTATE.insufficientPrivilege && state !== SQLSTATE.undefinedFunction) throw error;
      await this.#watcher.run(`ROLLBACK; ${ASSIGN}`);
    }
  }

  async waiting(): Promise<readonly OtherSession[]> {
    return this.means === 'lock' ? await listWriters(this.#watcher, WATCH, this.#input.plan.tables, 'waiting') : [];
  }

  async refuseWrites(): Promise<readonly string[]> {
    const { plan, record, onAltering, log, signal } = this.#input;
    const open: string[] = [];
    if (plan.mayAlterDatabase) {
      this.#readOnly = await setReadOnlyDefault(this.#watcher, this.#readOnly, record, onAltering);
    }
    const { ended, left } = await endOthers({
      session: this.#watcher,
      purpose: WATCH,
      // Under a lock a late starter waits and is swept; the read-only fence has looked for it when it was raised.
      settleMs: 0,
      until: this.#now() + END_TIMEOUT_MS,
      signal,
    });
    if (ended > 0)
      log('info', `Ended ${ended} other sessions of ${plan.database} on the source, so that they connect anew.`);
    if (left.length > 0) {
      open.push(
        `These sessions on the source could not be ended and must not write there any more: ${describeOthers(left, this.#now())}.`,
      );
    }
    open.push(...plan.limits);
    for (const text of open) log('warn', text);
    if (this.means === 'lock') this.#sweeping = this.#sweep(this.#sweeper.signal);
    return open;
  }

  /** Even a read-only session waits for the lock before it is told; so whoever waits is ended until the fence is lifted. */
  async #sweep(signal: AbortSignal): Promise<void> {
    const { log } = this.#input;
    const told = new Set<number>();
    while (!signal.aborted && this.#lost === null) {
      try {
        const waiting = await this.waiting();
        if (waiting.length > 0) {
          const endable = new Set(
            (await listOthers(this.#watcher, WATCH)).filter((one) => one.endable).map((one) => one.pid),
          );
          await terminate(
            this.#watcher,
            waiting.filter((one) => endable.has(one.pid)).map((one) => one.pid),
          );
          const fresh = waiting.filter((one) => !told.has(one.pid));
          for (const one of fresh) told.add(one.pid);
          const refused = fresh.filter((one) => endable.has(one.pid));
          const kept = fresh.filter((one) => !endable.has(one.pid));
          if (refused.length > 0) log('info', `Refused writes on the source: ${describeOthers(refused, this.#now())}.`);
          if (kept.length > 0) {
            log(
              'warn',
              `A write on the source waits and cannot be refused; it goes to the old database when the fence is lifted: ${describeOthers(kept, this.#now())}.`,
            );
          }
        }
      } catch (error) {
        if (!signal.aborted && !this.#input.signal.aborted)
          log('warn', `Writes that wait on the source cannot be refused any more: ${words(error)}`);
        return;
      }
      await sleep(SWEEP_EVERY_MS, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  #stopTimers(): void {
    if (this.#pinger !== null) clearInterval(this.#pinger);
    this.#pinger = null;
    this.#sweeper.abort();
  }

  async lift(): Promise<void> {
    if (this.#lifted) return;
    this.#lifted = true;
    this.#stopTimers();
    // Closing ends the transaction, whatever state the session is in.
    await Promise.all([this.#holder?.close(), this.#watcher.close(), this.#sweeping]);
  }
}

/**
 * Stops writes on the source for every role and existing sessions, or throws with nothing changed; what an earlier run has recorded
 * as changed stays so. Readers go on.
 * @throws PgsluiceError FENCE_TIMEOUT, FENCE_INCOMPLETE, SCHEMA_DRIFT; the cancellation.
 */
export async function raiseFence(input: RaiseFenceInput): Promise<Fence> {
  const { settings, job, plan, signal } = input;
  const now = input.now ?? Date.now;
  const watcher = await openSession(settings, { signal, side: 'source', purpose: WATCH });
  let holder: Session | null = null;
  try {
    if (plan.means === 'read-only') return await raiseReadOnly(input, watcher, now);
    holder = await openSession(settings, { signal, side: 'source', purpose: `fence ${job}` });
    const { deadlineAt, onState } = input;
    const raised = await takeLocks({ holder, watcher, plan, signal, deadlineAt, onState, now });
    return new StandingFence(input, { watcher, holder }, { ...raised, readOnly: input.recorded ?? null });
  } catch (error) {
    await Promise.all([holder?.close(), watcher.close()]);
    throw error;
  }
}

async function raiseReadOnly(input: RaiseFenceInput, watcher: Session, now: () => number): Promise<Fence> {
  const { plan, signal, record, onState, onAltering, log, deadlineAt } = input;
  const recorded = input.recorded ?? null;
  const startedAt = now();
  onState(`Making ${plan.database} read-only and ending its other sessions.`);
  const readOnly = await setReadOnlyDefault(watcher, recorded, record, onAltering);
  try {
    const until = Math.min(deadlineAt, now() + END_TIMEOUT_MS);
    const { ended, left } = await endOthers({ session: watcher, purpose: WATCH, settleMs: STARTING_MS, until, signal });
    const writers = await listWriters(watcher, WATCH, plan.tables, 'written');
    const inTheWay = [...left, ...writers];
    if (inTheWay.length > 0) {
      throw new PgsluiceError({
        code: 'FENCE_INCOMPLETE',
        message: `Writes on the source could not be stopped: ${describeOthers(inTheWay, now())} could not be ended or writes in spite of the read-only default.`,
        hint: `End them on the source (SELECT pg_terminate_backend(<process>);), or let the job lock the tables instead: GRANT UPDATE on them to this role. Then start the cutover again.`,
        retryable: true,
      });
    }
    log('info', `Made ${plan.database} on the source read-only and ended ${ended} sessions.`);
    return new StandingFence(input, { watcher, holder: null }, { attempts: 1, startedAt, readOnly });
  } catch (error) {
    if (recorded === null && !signal.aborted && !watcher.lost) {
      try {
        await undoReadOnly(watcher, readOnly);
        await record(null);
      } catch (undo) {
        log('warn', `The source could not be made writable for new sessions again yet: ${words(undo)}`);
      }
    }
    throw error;
  }
}
