import type { RestoreProblem } from '../contract/report.ts';
import type { ErrorReport } from '../errors.ts';
import { PgsluiceError } from '../errors.ts';
import { entryName } from './restore.ts';

/** How many names an error lists; the report has all. */
const NAMED = 10;

function listed(names: readonly string[]): string {
  return `${names.slice(0, NAMED).join('; ')}${names.length > NAMED ? '; …' : ''}`;
}

/** The target refused statements that matter. Pure. */
export function refusedError(refused: readonly RestoreProblem[]): PgsluiceError {
  const names = refused.map((problem) => `${problem.kind} ${problem.name} (${problem.error})`);
  return new PgsluiceError({
    code: 'RESTORE_REFUSED',
    message: `The target refused ${refused.length} ${refused.length === 1 ? 'object' : 'objects'}: ${listed(names)}`,
    hint: 'The report lists every refused statement. Remove the cause (for a violated constraint: in the rows of the source), then retry the job.',
  });
}

/** What a retry finds of the tables that were copied: all under one snapshot that lives, a record of each, or nothing of use. */
export type Kept = 'snapshot' | 'records' | 'nothing';

const RETRY_HINTS: Readonly<Record<Kept, string>> = {
  snapshot: 'Remove the cause and retry the job: while its snapshot lives, only these tables are copied again.',
  records: 'Remove the cause and retry the job: only these tables are copied again.',
  nothing: 'Remove the cause and retry the job: the snapshot is gone, so every table is copied anew.',
};

/** Tables that could not be copied. Pure. */
export function failedTablesError(
  failed: readonly { schema: string; name: string; error: ErrorReport }[],
  kept: Kept,
): PgsluiceError {
  const names = failed.map((table) => `${entryName(table)}: ${table.error.message}`);
  return new PgsluiceError({
    code: 'TABLES_FAILED',
    message: `${failed.length} ${failed.length === 1 ? 'table' : 'tables'} could not be copied: ${listed(names)}`,
    hint: RETRY_HINTS[kept],
    retryable: true,
  });
}
