import { completed, type SummaryInput, work } from './job-summary.ts';
import { clock, sentence, tablesDone, targetWarning } from './summary-words.ts';

/** Of an export that is not completed: it has an archive or none. */
export const noArchiveWords = 'There is no archive: it appears only when it is whole.';

/** What is happening and whether the source is safe to use, of a job of kind export. Pure. */
export function summarizeExport(job: SummaryInput): string {
  const unchanged = 'The source is unchanged and can be used.';
  switch (job.state) {
    case 'draft':
      return 'Not checked yet. Nothing has been read or written.';
    case 'validating':
      return 'Checking the source and the place of the archive. Nothing is changed.';
    case 'ready':
      return 'All checks passed; the export can start. Nothing has been changed.';
    case 'blocked':
      return `A check failed, so the export cannot start: ${sentence(job.error?.message ?? 'see the checks')} Nothing has been changed.`;
    case 'running':
    case 'following':
    case 'cutting_over':
      return `${exporting(job)} ${exportSafe(job)}`;
    case 'verifying':
      return `Everything is written; reading the archive back. ${exportSafe(job)}`;
    case 'paused': {
      if (!job.snapshotAlive) return `Interrupted; resume starts the export anew. ${unchanged} ${noArchiveWords}`;
      const why =
        job.error === null ? `Paused with ${tablesDone(job.totals)} exported` : `Paused: ${job.error.message}`;
      return `${sentence(why)} Resume goes on under the same snapshot. ${exportSafe(job)}`;
    }
    case 'completed':
      return exported(job);
    case 'failed':
      return `Failed: ${sentence(job.error?.message ?? 'see the log')} ${unchanged} ${noArchiveWords}`;
    case 'cancelled':
      return `Cancelled. ${unchanged} ${noArchiveWords}`;
  }
}

function exporting({ phase, totals }: SummaryInput): string {
  if (phase === 'copy' && totals.tables > 0) {
    return `Exporting: ${totals.tablesDone} of ${totals.tables} tables are done.`;
  }
  return phase === 'copy' ? 'Exporting the data.' : 'Starting the export.';
}

function exportSafe(job: SummaryInput): string {
  return job.snapshotAt === null
    ? 'The source stays fully usable.'
    : `The source stays fully usable; changes made there after ${clock(job.snapshotAt)} are not in this archive.`;
}

/** An archive is no second home yet: the source is what there is until it was imported. Pure. */
function exported(job: SummaryInput): string {
  const at =
    job.snapshotAt === null ? '' : ` as of ${job.snapshotAt.toISOString().slice(0, 10)} ${clock(job.snapshotAt)}`;
  const holds = `the archive holds the source${job.options.schemaOnly ? "'s schema" : ''}${at}`;
  if (job.differences > 0) {
    return `Done, but the archive does not hold all that the source counted: keep the source, and read the report.`;
  }
  const read = job.verified
    ? 'was read back whole'
    : job.options.verify === 'none'
      ? 'was not read back (verification was switched off)'
      : 'could not be read back in all; see the report';
  return `Done: ${holds} and ${read}. The source is unchanged and can be used; what is written there from now on is not in the archive.`;
}

/** The same of a job of kind import. Pure. */
export function summarizeImport(job: SummaryInput): string {
  const untouched = 'The archive is only read.';
  switch (job.state) {
    case 'draft':
      return 'Not checked yet. Nothing has been changed.';
    case 'validating':
      return 'Checking the archive and the target. Nothing is changed.';
    case 'ready':
      return 'All checks passed; the import can start. Nothing has been changed.';
    case 'blocked':
      return `A check failed, so the import cannot start: ${sentence(job.error?.message ?? 'see the checks')} Nothing has been changed.`;
    case 'running':
    case 'following':
    case 'cutting_over':
      return `${work(job).replace('Starting the copy', 'Starting the import')} ${untouched} Do not use the target yet.`;
    case 'verifying':
      return `Everything is restored; comparing the target with what the archive says. ${untouched}`;
    case 'paused':
      return job.snapshotAlive
        ? `Paused with ${tablesDone(job.totals)} restored; resume goes on there. ${untouched}`
        : `Interrupted; resume starts the import anew. ${untouched} ${targetWarning(job)}`;
    case 'completed':
      return completed(job).replace('the target equals the source', 'the target equals what the archive says');
    case 'failed':
      return `Failed: ${sentence(job.error?.message ?? 'see the log')} The archive is unchanged. ${targetWarning(job)}`;
    case 'cancelled':
      return `Cancelled. The archive is unchanged. ${targetWarning(job)}`;
  }
}
