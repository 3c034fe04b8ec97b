import { setTimeout as sleep } from 'node:timers/promises';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { type Lsn, formatLsn, parseLsn } from '../postgres/lsn.ts';
import { quoteIdent, quoteLiteral } from '../postgres/quote.ts';
import { type Session, openSession } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { SQLSTATE, serverField, sqlStateOf } from '../postgres/sqlstate.ts';
import { type OnWait, withNameLock } from './name-lock.ts';
import { holdingPurpose, jobOfName } from './names.ts';
import { describeWait, readWaitedFor } from './slot-wait.ts';

type Log = (level: 'debug' | 'info' | 'warn', message: string) => void;

export interface CreateSlotInput {
  /** Of the source; the role needs REPLICATION. */
  readonly settings: ConnectionSettings;
  readonly name: string;
  readonly signal: AbortSignal;
  /** Told whenever what the slot waits for changes, in plain words. */
  onWait(text: string): void;
  readonly log: Log;
}

export interface CreatedSlot {
  /** Every transaction that commits after it is sent. Of a slot that stood already: what was last confirmed. */
  readonly consistentPoint: Lsn;
  /** True when the slot stood already. */
  readonly reused: boolean;
}

/** Between two looks at what a slot in the making waits for, ms. */
const WATCH_MS = 500;
/** How long the former holder of a slot may take to let go of it, ms. */
const RELEASE_MS = 15_000;
const BETWEEN_LOOKS_MS = 100;
/** For looking after a cancelled creation, ms. */
const AFTERMATH_MS = 6_000;

/** Columns that older servers lack are read through jsonb: wal_status is there from 13 on, invalidation_reason from 17. */
const SLOT = `
SELECT s.slot_type AS kind, s.plugin, s.database::text AS database, current_database()::text AS here, s.active_pid AS pid,
       s.restart_lsn::text AS restart, s.confirmed_flush_lsn::text AS confirmed,
       to_jsonb(s)->>'wal_status' AS "walStatus", to_jsonb(s)->>'invalidation_reason' AS reason
FROM pg_replication_slots s WHERE s.slot_name = $1`;

/** A slot as pg_replication_slots has it. */
export interface StandingSlot {
  readonly kind: string;
  readonly plugin: string | null;
  readonly database: string | null;
  /** The database that was asked in. */
  readonly here: string;
  readonly pid: number | null;
  readonly restart: string | null;
  readonly confirmed: string | null;
  readonly walStatus: string | null;
  readonly reason: string | null;
}

async function readSlot(session: Session, name: string): Promise<StandingSlot | null> {
  const [row] = await session.query<StandingSlot & Record<string, unknown>>(SLOT, [name]);
  return row ?? null;
}

/**
 * What becomes of a slot that bears our name already. `unfinished`: an earlier session still makes it, or ended in the middle. Pure.
 */
export function judgeStanding(slot: StandingSlot): 'usable' | 'unfinished' | 'foreign' | 'lost' {
  if (slot.kind !== 'logical' || slot.plugin !== 'pgoutput' || slot.database !== slot.here) return 'foreign';
  if (slot.walStatus === 'lost' || slot.reason !== null) return 'lost';
  if (slot.confirmed === null) return 'unfinished';
  return slot.restart === null ? 'lost' : 'usable';
}

/** The slot is there and of no use: what it kept is gone. */
export function slotLost(name: string, why: string | null): PgsluiceError {
  return new PgsluiceError({
    code: 'SLOT_LOST',
    message: `The source has given up the WAL that the slot ${name} needs${why === null ? '' : ` (${why})`}; changes are missing for good.`,
    hint: 'Cancel this job and start a new one: the copy begins anew. Before that raise max_slot_wal_keep_size (and idle_replication_slot_timeout) on the source, so that a pause of that length is survived.',
  });
}

function explainCreation(error: unknown, name: string, role: string): unknown {
  if (!(error instanceof PgsluiceError)) return error;
  const explained = (code: string, message: string, hint: string): PgsluiceError =>
    new PgsluiceError({ code, message, hint, cause: error });
  const state = sqlStateOf(error);
  if (state === SQLSTATE.objectNotInPrerequisiteState)
    return explained(
      'LOGICAL_DECODING_OFF',
      `The source cannot decode its changes: ${error.message}`,
      'Run there as a superuser: ALTER SYSTEM SET wal_level = logical; and restart it (RDS: rds.logical_replication = 1, Cloud SQL: cloudsql.logical_decoding = on); or use --method copy.',
    );
  if (state === SQLSTATE.configurationLimitExceeded)
    return explained(
      'NO_SLOT_LEFT',
      `The source has no replication slot left for ${name}: ${error.message}`,
      'Drop slots that nobody uses (SELECT slot_name, active FROM pg_replication_slots; SELECT pg_drop_replication_slot(…);), or raise max_replication_slots and restart it.',
    );
  // The list of allowed output plugins (output_plugin_libraries) answers with the same state as a missing right.
  if (state === SQLSTATE.insufficientPrivilege && serverField(error, 'routine') === 'StartupDecodingContext')
    return explained(
      'OUTPUT_PLUGIN_REFUSED',
      `The source does not allow its own output plugin pgoutput: ${error.message}`,
      `Run there as a superuser: ALTER SYSTEM SET output_plugin_libraries = 'pgoutput, test_decoding'; SELECT pg_reload_conf();`,
    );
  if (state === SQLSTATE.insufficientPrivilege)
    return explained(
      'REPLICATION_DENIED',
      `The role ${role} may not make a replication slot on the source: ${error.message}`,
      `Run there as a superuser: ALTER ROLE ${quoteIdent(role)} REPLICATION; (RDS: GRANT rds_replication TO ${quoteIdent(role)};), or use --method copy.`,
    );
  return error;
}

/** Tells what `maker` waits for until `signal` fires; a session of its own, because the maker's is busy. */
async function watch(input: CreateSlotInput, maker: Session, signal: AbortSignal): Promise<void> {
  const { settings } = input;
  let told = '';
  try {
    await sleep(WATCH_MS, undefined, { signal });
    const watcher = await openSession(settings, { signal, side: 'source', purpose: 'slot watch' });
    try {
      for (;;) {
        const waited = await readWaitedFor(watcher, maker.processId);
        const text = waited === null ? '' : describeWait(waited, Date.now());
        if (text !== told && text !== '') input.onWait(text);
        told = text;
        await sleep(WATCH_MS, undefined, { signal });
      }
    } finally {
      await watcher.close();
    }
  } catch (error) {
    // The slot is made all the same; only the telling ends.
    if (!signal.aborted)
      input.log(
        'warn',
        `What the slot waits for cannot be watched: ${error instanceof Error ? error.message : String(error)}`,
      );
  }
}

async function make(input: CreateSlotInput, session: Session): Promise<Lsn> {
  const over = new AbortController();
  const watching = watch(input, session, AbortSignal.any([input.signal, over.signal]));
  try {
    const [row] = await session.query<{ lsn: string }>(
      `SELECT lsn::text AS lsn FROM pg_create_logical_replication_slot($1, 'pgoutput')`,
      [input.name],
    );
    if (row === undefined) throw new Error('pg_create_logical_replication_slot answered no row');
    return parseLsn(row.lsn);
  } catch (error) {
    if (input.signal.aborted) await removeHalfMade(input, session.processId);
    throw explainCreation(error, input.name, input.settings.user);
  } finally {
    over.abort();
    await watching;
  }
}

/** After a cancellation: the server may have finished the slot, or not have noticed yet. */
async function removeHalfMade(input: CreateSlotInput, maker: number): Promise<void> {
  const signal = AbortSignal.timeout(AFTERMATH_MS);
  try {
    const session = await openSession(input.settings, { signal, side: 'source', purpose: 'slot' });
    try {
      await endProcess(session, maker, signal);
      await letGoAndDrop(session, input.name, signal);
    } finally {
      await session.close();
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    input.log(
      'warn',
      `It is not known whether the slot ${input.name} stands on the source; it is cleaned up later. ${why}`,
    );
  }
}

const MAKER = `SELECT pid FROM pg_stat_activity WHERE pid = $1 AND application_name LIKE '%slot%' AND usename = current_user`;

async function endProcess(session: Session, pid: number, signal: AbortSignal): Promise<void> {
  const there = async (): Promise<boolean> => (await session.query(MAKER, [pid])).length > 0;
  if (!(await there())) return;
  await session.query('SELECT pg_terminate_backend($1)', [pid]);
  while (await there()) await sleep(BETWEEN_LOOKS_MS, undefined, { signal }).catch(() => throwIfAborted(signal));
}

/**
 * Makes the slot, or answers the one that stands: a job that goes on uses its own again. Under the name's advisory lock. It waits
 * for every transaction that has written and runs, which no timeout bounds; `signal` ends it, and then no slot remains.
 * @throws PgsluiceError SLOT_LOST, SLOT_NAME_TAKEN, SLOT_BUSY, LOGICAL_DECODING_OFF, NO_SLOT_LEFT, REPLICATION_DENIED, OUTPUT_PLUGIN_REFUSED; the
 * signal's reason; a lost connection (retryable: called again, it answers the slot that the server may have finished).
 */
export async function createSlot(input: CreateSlotInput): Promise<CreatedSlot> {
  const { settings, name, signal, log } = input;
  const job = jobOfName(name);
  const session = await openSession(settings, {
    signal,
    side: 'source',
    purpose: job === null ? 'slot' : holdingPurpose('slot', job),
    retryForMs: 5_000,
  });
  try {
    return await withNameLock(
      session,
      name,
      signal,
      (text) => input.onWait(text),
      async () => {
        const standing = await readSlot(session, name);
        const verdict = standing === null ? 'absent' : judgeStanding(standing);
        if (verdict === 'foreign')
          throw new PgsluiceError({
            code: 'SLOT_NAME_TAKEN',
            message: `A replication slot ${name} exists on the source and was not made by this job (database ${standing?.database ?? 'none'}, plugin ${standing?.plugin ?? 'none'}).`,
            hint: `See what uses it; when nothing does, run there: SELECT pg_drop_replication_slot(${quoteLiteral(name)}); and retry.`,
          });
        if (verdict === 'lost') throw slotLost(name, standing?.reason ?? null);
        if (verdict === 'usable') {
          const consistentPoint = parseLsn(standing?.confirmed ?? '');
          log('info', `The slot ${name} stands already, confirmed up to ${formatLsn(consistentPoint)}.`);
          return { consistentPoint, reused: true };
        }
        if (verdict === 'unfinished') await letGoAndDrop(session, name, signal);
        const consistentPoint = await make(input, session);
        log('info', `Made the slot ${name}; it sends what commits after ${formatLsn(consistentPoint)}.`);
        return { consistentPoint, reused: false };
      },
    );
  } finally {
    await session.close();
  }
}

/** Ends whoever uses the slot, waits until it is free, drops it. Absent is done. */
async function letGoAndDrop(session: Session, name: string, signal: AbortSignal): Promise<void> {
  const until = Date.now() + RELEASE_MS;
  for (;;) {
    throwIfAborted(signal);
    const slot = await readSlot(session, name);
    if (slot === null) return;
    if (slot.pid === null) {
      try {
        await session.query('SELECT pg_drop_replication_slot($1)', [name]);
        return;
      } catch (error) {
        const state = sqlStateOf(error);
        if (state === SQLSTATE.undefinedObject) return;
        if (state !== SQLSTATE.objectInUse) throw error;
      }
    } else await session.query('SELECT pg_terminate_backend($1)', [slot.pid]);
    if (Date.now() > until)
      throw new PgsluiceError({
        code: 'SLOT_ACTIVE',
        message: `The slot ${name} is still in use on the source, ${RELEASE_MS / 1000} s after its session (process ${slot.pid ?? 'unknown'}) was asked to end.`,
        hint: `Stop whoever uses it, then run there: SELECT pg_drop_replication_slot(${quoteLiteral(name)});`,
        retryable: true,
      });
    await sleep(BETWEEN_LOOKS_MS, undefined, { signal }).catch(() => throwIfAborted(signal));
  }
}

/**
 * Drops the slot under the name's advisory lock, having ended the walsender that used it; absent is done. A slot of that name
 * that was not made by us stays.
 * @throws PgsluiceError SLOT_ACTIVE (retryable), SLOT_BUSY; what the server says.
 */
export async function dropSlot(
  session: Session,
  name: string,
  signal: AbortSignal,
  onWait: OnWait = () => undefined,
): Promise<void> {
  await withNameLock(session, name, signal, onWait, async () => {
    const slot = await readSlot(session, name);
    if (slot !== null && judgeStanding(slot) !== 'foreign') await letGoAndDrop(session, name, signal);
  });
}

export { type Leftovers, dropLeftovers, findLeftovers } from './leftovers.ts';
