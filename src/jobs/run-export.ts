import { PgsluiceError } from '../errors.ts';
import type { ArchiveRunContext } from './run-archive-context.ts';
import type { RunEnd } from './run-job.ts';

/** One run of an export. */
export function runExport(context: ArchiveRunContext): Promise<RunEnd> {
  return Promise.reject(
    new PgsluiceError({
      code: 'EXPORT_NOT_BUILT',
      message: `This version cannot export to ${context.archive} yet.`,
      hint: '',
    }),
  );
}
