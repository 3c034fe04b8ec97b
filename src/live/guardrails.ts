import type { Guardrail } from '../contract/live.ts';
import type { ErrorReport } from '../errors.ts';
import type { Session } from '../postgres/session.ts';
import type { FencePlan, OtherSession } from './fence-types.ts';
import { describeOthers, listWriters } from './other-sessions.ts';
import type { SlotJudgement } from './slot-health.ts';

/** Bytes of WAL that the target may lack when a cutover starts: a second or so of applying. */
export const LAG_BYTES = 16 * 1024 * 1024;
export const LAG_SECONDS = 5;
/** A transaction that has written for longer than this would keep the fence, and behind it every writer, waiting. */
export const LONG_WRITE_MS = 5000;

export interface PreparedTransaction {
  readonly gid: string;
  readonly owner: string;
  /** ms since 1970 */
  readonly since: number;
}

export interface LongWrite extends OtherSession {
  /** ms since 1970: when the transaction began, or where that is hidden from this role, when it was first seen. */
  readonly since: number;
}

export interface GuardrailFacts {
  /** Against the newest WAL of the source (LagMeter); null while the stream is not connected. */
  readonly lag: { readonly bytes: number; readonly seconds: number } | null;
  readonly writes: readonly LongWrite[];
  readonly prepared: readonly PreparedTransaction[];
  /** What is open between both sides' schemas, one sentence, and what to do; null when they agree. */
  readonly drift: { readonly found: string; readonly remedy: string } | null;
  readonly targetWriters: readonly OtherSession[];
  readonly fence: FencePlan | ErrorReport;
  readonly slot: Pick<SlotJudgement, 'verdict' | 'message' | 'hint'>;
  /** ms since 1970 */
  readonly now: number;
}

type Judge = (facts: GuardrailFacts) => Guardrail;

const mebibytes = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;

const judgeLag: Judge = ({ lag }) => {
  const id = 'lag';
  if (lag === null) {
    return {
      id,
      state: 'waits',
      found: 'The stream of changes is not connected.',
      remedy: 'It is being connected anew.',
    };
  }
  const found = `The target is ${mebibytes(lag.bytes)} of WAL and ${lag.seconds.toFixed(1)} s behind the source.`;
  if (lag.bytes <= LAG_BYTES && lag.seconds <= LAG_SECONDS) return { id, state: 'ok', found, remedy: '' };
  const remedy = `Wait until it is at most ${mebibytes(LAG_BYTES)} and ${LAG_SECONDS} s: writers wait for as long as the rest takes.`;
  return { id, state: 'waits', found, remedy };
};

const judgeWrites: Judge = ({ writes, now }) => {
  const id = 'long-writes';
  const long = writes.filter((one) => now - one.since > LONG_WRITE_MS);
  if (long.length === 0) {
    return {
      id,
      state: 'ok',
      found: `No transaction on the source has been writing for more than ${LONG_WRITE_MS / 1000} s.`,
      remedy: '',
    };
  }
  return {
    id,
    state: 'waits',
    found: `Transactions on the source have held their write locks for long: ${describeOthers(long, now)}.`,
    remedy: `Let them end, or end them on the source: SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN (${long.map((one) => one.pid).join(', ')});`,
  };
};

const judgePrepared: Judge = ({ prepared, now }) => {
  const id = 'prepared-transactions';
  const [first] = prepared;
  if (first === undefined) return { id, state: 'ok', found: 'The source has no prepared transaction.', remedy: '' };
  const name = `'${first.gid.replaceAll("'", "''")}'`;
  return {
    id,
    state: 'blocks',
    found: `The source has ${prepared.length} prepared transactions, the oldest ${name} of ${first.owner} for ${Math.round((now - first.since) / 1000)} s; what they wrote would be lost.`,
    remedy: `Finish each on the source: COMMIT PREPARED ${name}; or ROLLBACK PREPARED ${name}; (SELECT gid FROM pg_prepared_xacts lists them.)`,
  };
};

const judgeDrift: Judge = ({ drift }) =>
  drift === null
    ? { id: 'schema-drift', state: 'ok', found: 'The followed tables have the same columns on both sides.', remedy: '' }
    : { id: 'schema-drift', state: 'blocks', ...drift };

const judgeTarget: Judge = ({ targetWriters, now }) =>
  targetWriters.length === 0
    ? { id: 'target-written', state: 'ok', found: 'Nobody else is writing on the target.', remedy: '' }
    : {
        id: 'target-written',
        state: 'waits',
        found: `Others write to the followed tables on the target: ${describeOthers(targetWriters, now)}.`,
        remedy:
          'Stop them: until the hand-over the target belongs to this job, and what they write there shows as a difference.',
      };

const judgeFence: Judge = ({ fence }) => {
  const id = 'fence';
  if ('code' in fence) return { id, state: 'blocks', found: fence.message, remedy: fence.hint };
  const found =
    fence.means === 'lock'
      ? `Writes will be stopped by locking ${fence.tables.length} tables; readers go on.`
      : `Writes will be stopped by making ${fence.database} read-only and ending its other sessions.`;
  return { id, state: 'ok', found, remedy: fence.limits.join(' ') };
};

const judgeSlot: Judge = ({ slot }) => ({
  id: 'slot',
  state: slot.verdict === 'ok' || slot.verdict === 'warn' ? 'ok' : 'blocks',
  found: slot.message,
  remedy: slot.hint,
});

const JUDGES: readonly Judge[] = [judgeLag, judgeWrites, judgePrepared, judgeDrift, judgeTarget, judgeFence, judgeSlot];

/** One guardrail of each id, in the contract's order. Pure. */
export function judgeGuardrails(facts: GuardrailFacts): Guardrail[] {
  return JUDGES.map((judge) => judge(facts));
}

/** Remembers since when a writing transaction has been seen: the server hides a session's age from other roles. */
export class WriteClock {
  #seen = new Map<string, number>();

  /** `writers`: all that write now; `now` in ms since 1970. Those that are gone are forgotten. */
  read(writers: readonly OtherSession[], now: number): LongWrite[] {
    const seen = new Map<string, number>();
    const writes = writers.map((one) => {
      const key = `${one.pid} ${one.transaction}`;
      const since = one.since ?? this.#seen.get(key) ?? now;
      seen.set(key, since);
      return { ...one, since };
    });
    this.#seen = seen;
    return writes;
  }
}

const PREPARED = `
SELECT gid, owner::text AS owner, extract(epoch FROM prepared) * 1000 AS since
FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared`;

/** Reads the source's part; `purpose` is that of `session`, as it was opened. Two statements. */
export async function readSourceFacts(
  session: Session,
  purpose: string,
  plan: Pick<FencePlan, 'tables'>,
  clock: WriteClock,
  now: number,
): Promise<Pick<GuardrailFacts, 'writes' | 'prepared'>> {
  const writers = await listWriters(session, purpose, plan.tables, 'writing');
  const prepared = await session.query<{ gid: string; owner: string; since: string }>(PREPARED);
  return {
    writes: clock.read(writers, now),
    prepared: prepared.map((row) => ({ ...row, since: Number(row.since) })),
  };
}

const TARGET_TABLES = `
SELECT c.oid::text AS oid FROM unnest($1::text[], $2::text[]) AS w(schema, name)
JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name`;

/**
 * Reads the target's part: other sessions that hold write locks on the followed tables now. A write that began and ended between two
 * readings is not seen; the verification after the cutover finds what it changed.
 */
export async function readTargetFacts(
  session: Session,
  purpose: string,
  tables: readonly { readonly schema: string; readonly name: string }[],
): Promise<Pick<GuardrailFacts, 'targetWriters'>> {
  const oids = await session.query<{ oid: string }>(TARGET_TABLES, [
    tables.map((table) => table.schema),
    tables.map((table) => table.name),
  ]);
  const found = oids.map((row) => ({ oid: Number(row.oid) }));
  return { targetWriters: await listWriters(session, purpose, found, 'writing') };
}
