import { PgsluiceError } from '../errors.ts';
import type { ArchiveRunContext } from './run-archive-context.ts';
import type { HeldRun, RunEnd } from './run-job.ts';

/** One run of an import. */
export function runImport(context: ArchiveRunContext, _held: HeldRun | null): Promise<RunEnd> {
  return Promise.reject(
    new PgsluiceError({
      code: 'IMPORT_NOT_BUILT',
      message: `This version cannot import ${context.archive} yet.`,
      hint: 'Restore it with pg_restore.',
    }),
  );
}
