import { exportChecks } from '../checks/archive-export.ts';
import { type ArchiveCheck, type OneSideInput, type OneSideOutcome, validateOne } from '../checks/validate-one.ts';
import { type ExportOutcome, exportArchive } from '../clone/export.ts';
import type { ExportContext } from '../clone/export-context.ts';
import { measureDatabase } from '../verify/measure.ts';

/** What runs with an archive need of the rooms below. */
export interface ArchiveRooms {
  validateOne(input: OneSideInput): Promise<OneSideOutcome>;
  /** The checks of the place where an export puts its archive. */
  exportChecks(archive: string): readonly ArchiveCheck[];
  exportArchive(input: Omit<ExportContext, 'measure'>): Promise<ExportOutcome>;
}

export const archiveRooms: ArchiveRooms = {
  validateOne,
  exportChecks,
  exportArchive: (input) =>
    exportArchive({
      ...input,
      measure: (request) => measureDatabase({ ...request, options: input.options }),
    }),
};
