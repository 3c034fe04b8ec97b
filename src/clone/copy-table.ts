import { PgsluiceError } from '../errors.ts';
import type { PauseGate } from '../gate.ts';
import { explainError } from '../postgres/explain.ts';
import { qualified, quoteIdent } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import type { CopyTask } from './plan.ts';
import { TransferError, transferCopy } from './transfer.ts';
import type { Transferred } from './transfer.ts';

/** How the target takes a table's rows. */
export interface CopyMode {
  /** The table was made by this job: TRUNCATE and FREEZE in the COPY's own transaction. */
  readonly fresh: boolean;
  /** Nothing can be in the table yet, not even from an attempt whose end is unknown: small tables need no TRUNCATE then. */
  readonly untouched: boolean;
  /** Triggers and rules of tables that were there before must not fire; the setting that keeps them from it. */
  readonly replicaRole: boolean;
}

/** Up to this size TRUNCATE and a transaction of its own cost a table more than FREEZE saves it, bytes. */
const SMALL_BYTES = 512 * 1024;

/**
 * The COMMIT was sent and its answer never came: only the target knows whether the rows are stored. `transactionId` and
 * `startedAt` (of the server) let it be asked.
 */
export class CommitUnknownError extends Error {
  override readonly name = 'CommitUnknownError';
  readonly transactionId: string;
  readonly serverStartedAt: string;
  readonly transferred: Transferred;
  constructor(transaction: { id: string; serverStartedAt: string }, transferred: Transferred, cause: unknown) {
    super('The connection ended before the target had answered the COMMIT.', { cause });
    this.transactionId = transaction.id;
    this.serverStartedAt = transaction.serverStartedAt;
    this.transferred = transferred;
  }
}

/** Whether the task fills its table alone and anew: only then TRUNCATE and FREEZE are possible and safe. */
export function fillsAlone(task: CopyTask, mode: CopyMode): boolean {
  return mode.fresh && task.range === null && task.table.extensionCondition === null && task.table.via === null;
}

/** One COPY that is its own transaction: all of it or nothing, in one round trip. */
export function isSmall(task: CopyTask, mode: CopyMode): boolean {
  return mode.untouched && fillsAlone(task, mode) && task.table.sizeBytes <= SMALL_BYTES;
}

/** The two COPY statements of a task. Pure. */
export function copyStatements(task: CopyTask, mode: CopyMode): { out: string; into: string } {
  const { table, range, format } = task;
  const name = qualified(table.schema, table.name);
  const columns = table.columns.map((column) => quoteIdent(column.name)).join(', ');
  const list = columns === '' ? '' : ` (${columns})`;
  let from = `${name}${list}`;
  if (range !== null) {
    const upper = range.to === null ? '' : ` AND ctid < '(${range.to},0)'::tid`;
    from = `(SELECT ${columns} FROM ONLY ${name} WHERE ctid >= '(${range.from},0)'::tid${upper})`;
  } else if (table.extensionCondition !== null && table.extensionCondition.trim() !== '') {
    from = `(SELECT ${columns} FROM ONLY ${name} ${table.extensionCondition})`;
  }
  const freeze = fillsAlone(task, mode) && !isSmall(task, mode) ? ', FREEZE' : '';
  const into = table.via === null ? name : qualified(table.via.schema, table.via.name);
  return {
    out: `COPY ${from} TO STDOUT (FORMAT ${format})`,
    into: `COPY ${into}${list} FROM STDIN (FORMAT ${format}${freeze})`,
  };
}

/** SQL of the rows' own transaction on the target. */
export interface Beside {
  /** Makes the table, before its rows; '' where it stands. */
  readonly before: string;
  /** After the rows: what has to be true exactly when they are stored. */
  after(transferred: Transferred): string;
}

/**
 * Copies one task in one target transaction: a failed one leaves nothing behind. Both sessions are of no use after an error.
 * @throws PgsluiceError which explains the failing side; CommitUnknownError when the connection broke during COMMIT.
 */
export async function copyTask(
  source: Session,
  target: Session,
  task: CopyTask,
  mode: CopyMode,
  gate: PauseGate,
  onProgress: (bytes: number, rows: number) => void,
  beside: Beside | null = null,
): Promise<Transferred> {
  const statements = copyStatements(task, mode);
  const { format } = task;
  return storeTask(
    target,
    task,
    mode,
    () => transferCopy({ source, copyOut: statements.out, target, copyIn: statements.into, format, gate, onProgress }),
    (side) => (side === 'source' ? source : target),
    beside,
  );
}

/**
 * One task's rows, which `transfer` brings, in one target transaction. `failing`: the session whose settings explain an error.
 * @throws as `copyTask`.
 */
export async function storeTask(
  target: Session,
  task: CopyTask,
  mode: CopyMode,
  transfer: () => Promise<Transferred>,
  failing: (side: 'source' | 'target') => Session,
  beside: Beside | null = null,
): Promise<Transferred> {
  const { table } = task;
  const name = qualified(table.schema, table.name);
  const small = isSmall(task, mode);
  const alone = fillsAlone(task, mode);
  const before = beside?.before ?? '';
  const transaction =
    small && beside === null
      ? null
      : await beginCopy(
          target,
          // FREEZE wants the table made or emptied in the COPY's own transaction.
          before === '' && alone && !small ? `TRUNCATE ONLY ${name}` : before,
          mode,
          // Whatever cannot simply be done again has to be asked for should its COMMIT stay without an answer.
          !alone || before !== '',
        );
  let transferred: Transferred;
  try {
    transferred = await transfer();
  } catch (error) {
    if (error instanceof TransferError) {
      throw explainError(error.cause, { side: error.side, settings: failing(error.side).settings });
    }
    throw error;
  }
  if (transaction === null) return transferred;
  const after = beside?.after(transferred) ?? '';
  // A COMMIT that answers ROLLBACK raises nothing by itself.
  const command = await lastCommand(target, after === '' ? 'COMMIT' : `${after};\nCOMMIT`).catch((error: unknown) => {
    if (target.lost) throw new CommitUnknownError(transaction, transferred, error);
    throw explainError(error, { side: 'target', settings: target.settings });
  });
  if (command !== 'COMMIT') {
    throw new PgsluiceError({
      code: 'COMMIT_REFUSED',
      message: `The target answered ${command} to the COMMIT of ${name}; none of its rows were stored.`,
      hint: "Look at the target's log for the error, then retry the job.",
      retryable: true,
    });
  }
  return transferred;
}

/** Several statements in one round trip are answered by a list of results, which the driver's types leave out. */
async function lastCommand(session: Session, sql: string): Promise<string> {
  const result: { command: string } | { command: string }[] = await session.client.query(sql);
  return (Array.isArray(result) ? result.at(-1)?.command : result.command) ?? 'nothing';
}

interface Transaction {
  readonly id: string;
  readonly serverStartedAt: string;
}

/** Opens the target's transaction and runs `first` in it, in one round trip; `numbered` asks for its number as well. */
async function beginCopy(target: Session, first: string, mode: CopyMode, numbered: boolean): Promise<Transaction> {
  await target.run(
    [
      'BEGIN',
      ...(mode.replicaRole ? ["SET LOCAL session_replication_role = 'replica'"] : []),
      ...(first === '' ? [] : [first]),
    ].join(';\n'),
  );
  if (!numbered) return { id: '', serverStartedAt: '' };
  const [row] = await target.query<{ id: string; started: string }>(
    'SELECT txid_current()::text AS id, pg_postmaster_start_time()::text AS started',
  );
  return { id: row?.id ?? '', serverStartedAt: row?.started ?? '' };
}

/**
 * What became of a transaction whose COMMIT was not answered; null when the server cannot say, because it has restarted
 * since (a number that was never written to disk is given out again).
 */
export async function outcomeOf(target: Session, unknown: CommitUnknownError): Promise<'committed' | 'aborted' | null> {
  const [row] = await target.query<{ status: string | null; started: string }>(
    `SELECT pg_postmaster_start_time()::text AS started,
            CASE WHEN pg_postmaster_start_time()::text = $2 THEN txid_status($1::bigint) END AS status`,
    [unknown.transactionId, unknown.serverStartedAt],
  );
  return row?.status === 'committed' || row?.status === 'aborted' ? row.status : null;
}
