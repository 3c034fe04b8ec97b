import { PgsluiceError } from '../errors.ts';
import { type Lsn, formatLsn, parseLsn } from '../postgres/lsn.ts';
import { quoteLiteral } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import type { TableGate } from './types.ts';

/** Schema on the target that holds how far each live job is; gone once no job is left in it. */
export const PROGRESS_SCHEMA = 'pgsluice_live';

/** Two jobs that share a target make and drop the schema one after the other. */
const LOCK = `SELECT pg_advisory_xact_lock(hashtextextended('${PROGRESS_SCHEMA}', 0))`;
/** How long a transaction of the agent before is waited for, whose session was ended. */
const LOCK_TIMEOUT = '10s';

/**
 * `applied`: every transaction of the source that ends at or before it is in the target, none after it. `epoch` grows with each
 * agent that takes over, which fences the ones before. `newest_xid`: the newest transaction applied, 64 bits wide, so that a 32-bit
 * one can be widened after any number of wraparounds. `backend`, `backend_start`: the session that applies.
 */
const TABLES = `
CREATE SCHEMA IF NOT EXISTS ${PROGRESS_SCHEMA};
CREATE TABLE IF NOT EXISTS ${PROGRESS_SCHEMA}.progress (
  job text PRIMARY KEY, slot text, applied pg_lsn NOT NULL DEFAULT '0/0', epoch bigint NOT NULL DEFAULT 0,
  finished boolean NOT NULL DEFAULT false, newest_xid numeric NOT NULL DEFAULT 0, backend integer, backend_start timestamptz);
CREATE TABLE IF NOT EXISTS ${PROGRESS_SCHEMA}.tables (
  job text, relation oid, schema_name text NOT NULL, table_name text NOT NULL, snapshot text NOT NULL, via_schema text, via_name text,
  rows bigint, bytes bigint, PRIMARY KEY (job, relation));
CREATE TABLE IF NOT EXISTS ${PROGRESS_SCHEMA}.archive (job text PRIMARY KEY, entries text NOT NULL)`;

export interface ProgressState {
  /** null while nothing is followed yet. */
  readonly applied: Lsn | null;
  readonly epoch: bigint;
  readonly finished: boolean;
  /** Tables whose rows are in the target, by schema and name. */
  readonly tables: TableGate[];
  /** As given to {@link storeArchive}. */
  readonly archive: string | null;
}

export interface RecordedTable {
  /** pg_class.oid on the source. */
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly via: { readonly schema: string; readonly name: string } | null;
}

/** Thrown wherever the progress row is not what this agent left there. */
export function progressTaken(job: string, found: string): PgsluiceError {
  return new PgsluiceError({
    code: 'PROGRESS_TAKEN',
    message: `Another agent has taken over job ${job} on the target: ${found}.`,
    hint: 'Only one agent may run a job. Stop one of them; what was applied is complete and is not applied twice.',
  });
}

function progressMissing(job: string): PgsluiceError {
  return new PgsluiceError({
    code: 'PROGRESS_MISSING',
    message: `The target holds no progress of job ${job}: its row in ${PROGRESS_SCHEMA}.progress is gone.`,
    hint: 'Without it nobody can tell which changes are in the target. Start a new job into an empty database.',
  });
}

/** The target has less than it once said it had: another server in its place, or an older state of it. */
export function targetWentBack(had: Lsn, has: Lsn): PgsluiceError {
  return new PgsluiceError({
    code: 'TARGET_WENT_BACK',
    message: `The target has lost changes that it had committed: it stood at ${formatLsn(had)} of the source's WAL and now stands at ${formatLsn(has)}, as after a failover to a standby that was behind, or a restored backup.`,
    hint: 'The source no longer keeps those changes. Retry the job: it copies everything anew. Let the target fail over only to a synchronous standby.',
  });
}

/** Makes schema, tables and the job's row where they are absent; leaves what is there alone. One transaction. */
export async function ensureProgress(target: Session, job: string): Promise<void> {
  await target.run(
    `${LOCK};${TABLES};INSERT INTO ${PROGRESS_SCHEMA}.progress (job) VALUES (${quoteLiteral(job)}) ON CONFLICT DO NOTHING`,
  );
}

interface ProgressRow {
  readonly applied: string;
  readonly epoch: string;
  readonly finished: boolean;
}

interface TableRow {
  readonly relation: string;
  readonly schema_name: string;
  readonly table_name: string;
  readonly snapshot: string;
  readonly via_schema: string | null;
  readonly via_name: string | null;
}

/** Ends the session of an agent before this one: cut off without a word it would hold its locks until the network gives up. */
async function endFormerSession(target: Session, job: string): Promise<void> {
  await target.query(
    `SELECT pg_terminate_backend(a.pid) FROM ${PROGRESS_SCHEMA}.progress p
     JOIN pg_stat_activity a ON a.pid = p.backend AND a.backend_start = p.backend_start
     WHERE p.job = $1 AND a.pid <> pg_backend_pid() AND a.usename = current_user`,
    [job],
  );
}

/**
 * Makes the caller the job's only agent: a batch of any agent before it fails from here on with PROGRESS_TAKEN.
 * @throws PgsluiceError PROGRESS_MISSING; LOCK_NOT_AVAILABLE or the like, retryable, while a former agent's transaction ends.
 */
export async function takeOver(target: Session, job: string): Promise<ProgressState> {
  await endFormerSession(target, job);
  await target.run('BEGIN');
  try {
    await target.run(`SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'`);
    const [row] = await target.query<ProgressRow & Record<string, unknown>>(
      `UPDATE ${PROGRESS_SCHEMA}.progress SET epoch = epoch + 1 WHERE job = $1 RETURNING applied::text, epoch::text, finished`,
      [job],
    );
    if (row === undefined) throw progressMissing(job);
    await target.run('COMMIT');
    const tables = await recordedTables(target, job);
    const [archive] = await target.query<{ entries: string }>(
      `SELECT entries FROM ${PROGRESS_SCHEMA}.archive WHERE job = $1`,
      [job],
    );
    const applied = parseLsn(row.applied);
    return {
      applied: applied === 0n ? null : applied,
      epoch: BigInt(row.epoch),
      finished: row.finished,
      tables,
      archive: archive?.entries ?? null,
    };
  } catch (error) {
    if (!target.lost) await target.run('ROLLBACK');
    throw error;
  }
}

/** Tables of the job whose rows are in the target, by schema and name. */
export async function recordedTables(target: Session, job: string): Promise<TableGate[]> {
  const rows = await target.query<TableRow & Record<string, unknown>>(
    `SELECT relation::text, schema_name, table_name, snapshot, via_schema, via_name FROM ${PROGRESS_SCHEMA}.tables
     WHERE job = $1 ORDER BY schema_name, table_name`,
    [job],
  );
  return rows.map((row) => ({
    oid: Number(row.relation),
    schema: row.schema_name,
    name: row.table_name,
    snapshot: row.snapshot,
    via: row.via_schema === null || row.via_name === null ? null : { schema: row.via_schema, name: row.via_name },
  }));
}

const orNull = (text: string | null | undefined): string =>
  text === null || text === undefined ? 'NULL' : quoteLiteral(text);

/**
 * The statement that says "this table's rows, as seen by `snapshot`, are here". To be run in the transaction that brings the rows,
 * so that both are there or neither. `snapshot` is `pg_current_snapshot()::text` of the source.
 */
export function recordTableSql(job: string, table: RecordedTable, snapshot: string): string {
  const values = [
    quoteLiteral(job),
    String(table.oid),
    quoteLiteral(table.schema),
    quoteLiteral(table.name),
    quoteLiteral(snapshot),
    orNull(table.via?.schema),
    orNull(table.via?.name),
  ];
  return `INSERT INTO ${PROGRESS_SCHEMA}.tables (job, relation, schema_name, table_name, snapshot, via_schema, via_name)
VALUES (${values.join(', ')})
ON CONFLICT (job, relation) DO UPDATE SET schema_name = excluded.schema_name, table_name = excluded.table_name,
  snapshot = excluded.snapshot, via_schema = excluded.via_schema, via_name = excluded.via_name, rows = NULL, bytes = NULL`;
}

/** The statement that adds what a table's copy moved, in rows and bytes, to its record; null for what was not counted. */
export function setTableCountsSql(job: string, oid: number, rows: number | null, bytes: number | null): string {
  return `UPDATE ${PROGRESS_SCHEMA}.tables SET rows = ${rows ?? 'NULL'}, bytes = ${bytes ?? 'NULL'}
WHERE job = ${quoteLiteral(job)} AND relation = ${oid}`;
}

/** Keeps the source's schema archive, as JSON, so that an agent that goes on needs no second dump. */
export async function storeArchive(target: Session, job: string, json: string): Promise<void> {
  await target.query(
    `INSERT INTO ${PROGRESS_SCHEMA}.archive (job, entries) VALUES ($1, $2)
     ON CONFLICT (job) DO UPDATE SET entries = excluded.entries`,
    [job, json],
  );
}

/**
 * Sets the position from which the job follows, the slot's consistent point. A position that is set already stays: it has been
 * applied up to.
 * @throws PgsluiceError PROGRESS_TAKEN, PROGRESS_MISSING.
 */
export async function startFollowing(target: Session, job: string, epoch: bigint, lsn: Lsn): Promise<void> {
  const [row] = await target.query<{ epoch: string }>(
    `UPDATE ${PROGRESS_SCHEMA}.progress
     SET applied = CASE WHEN epoch = $2 AND applied = '0/0' THEN $3::pg_lsn ELSE applied END WHERE job = $1 RETURNING epoch::text`,
    [job, epoch.toString(), formatLsn(lsn)],
  );
  if (row === undefined) throw progressMissing(job);
  if (BigInt(row.epoch) !== epoch)
    throw progressTaken(job, `epoch ${row.epoch} is stored where ${epoch.toString()} was left`);
}

/**
 * The statement that ends following, to be run in the cutover's transaction on the target: from its commit on nothing is applied any
 * more. It fails, and with it the transaction, when another agent has taken over.
 */
export function finishSql(job: string, epoch: bigint): string {
  return `WITH done AS (
  UPDATE ${PROGRESS_SCHEMA}.progress SET finished = true WHERE job = ${quoteLiteral(job)} AND epoch = ${epoch.toString()} RETURNING 1
) SELECT CASE count(*) WHEN 1 THEN 1 ELSE (count(*)::text || ' rows: another agent has taken over this job')::int END FROM done`;
}

/** Removes all that the job has stored, and the schema with the last job. Does nothing when there is nothing. One transaction. */
export async function dropProgress(target: Session, job: string): Promise<void> {
  await target.run('BEGIN');
  try {
    await target.run(`SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'; ${LOCK}`);
    const [found] = await target.query<{ there: boolean }>(
      `SELECT to_regclass('${PROGRESS_SCHEMA}.progress') IS NOT NULL AS there`,
    );
    if (found?.there === true) {
      await endFormerSession(target, job);
      for (const table of ['progress', 'tables', 'archive'])
        await target.query(`DELETE FROM ${PROGRESS_SCHEMA}.${table} WHERE job = $1`, [job]);
      const [others] = await target.query<{ jobs: boolean }>(
        `SELECT EXISTS (SELECT FROM ${PROGRESS_SCHEMA}.progress) AS jobs`,
      );
      if (others?.jobs === false) await target.run(`DROP SCHEMA ${PROGRESS_SCHEMA} CASCADE`);
    }
    await target.run('COMMIT');
  } catch (error) {
    if (!target.lost) await target.run('ROLLBACK');
    throw error;
  }
}
