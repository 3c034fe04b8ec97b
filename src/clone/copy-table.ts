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
  /** Triggers and rules of tables that were there before must not fire; the setting that keeps them from it. */
  readonly replicaRole: boolean;
}

/** Whether the task fills its table alone and anew: only then TRUNCATE and FREEZE are possible and safe. */
function fillsAlone(task: CopyTask, mode: CopyMode): boolean {
  return mode.fresh && task.range === null && task.table.extensionCondition === null && task.table.via === null;
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
  const freeze = fillsAlone(task, mode) ? ', FREEZE' : '';
  const into = table.via === null ? name : qualified(table.via.schema, table.via.name);
  return {
    out: `COPY ${from} TO STDOUT (FORMAT ${format})`,
    into: `COPY ${into}${list} FROM STDIN (FORMAT ${format}${freeze})`,
  };
}

/**
 * Copies one task in one target transaction: a failed one leaves nothing behind. Both sessions are of no use after an error.
 * @throws PgsluiceError which explains the failing side.
 */
export async function copyTask(
  source: Session,
  target: Session,
  task: CopyTask,
  mode: CopyMode,
  gate: PauseGate,
  onProgress: (bytes: number, rows: number) => void,
): Promise<Transferred> {
  const { table } = task;
  const name = qualified(table.schema, table.name);
  const statements = copyStatements(task, mode);
  const truncate = fillsAlone(task, mode);
  await target.run(
    [
      'BEGIN',
      ...(mode.replicaRole ? ["SET LOCAL session_replication_role = 'replica'"] : []),
      ...(truncate ? [`TRUNCATE ONLY ${name}`] : []),
    ].join('; '),
  );
  let transferred: Transferred;
  try {
    transferred = await transferCopy({
      source,
      copyOut: statements.out,
      target,
      copyIn: statements.into,
      format: task.format,
      gate,
      onProgress,
    });
  } catch (error) {
    if (error instanceof TransferError) {
      const session = error.side === 'source' ? source : target;
      throw explainError(error.cause, { side: error.side, settings: session.settings });
    }
    throw error;
  }
  // A COMMIT that answers ROLLBACK raises nothing by itself.
  const result = await target.client.query('COMMIT').catch((error: unknown) => {
    throw explainError(error, { side: 'target', settings: target.settings });
  });
  if (result.command !== 'COMMIT') {
    throw new PgsluiceError({
      code: 'COMMIT_REFUSED',
      message: `The target answered ${result.command} to the COMMIT of ${name}; none of its rows were stored.`,
      hint: "Look at the target's log for the error, then retry the job.",
      retryable: true,
    });
  }
  return transferred;
}
