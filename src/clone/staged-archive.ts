import type { RestoreProblem } from '../contract/report.ts';
import { PgsluiceError } from '../errors.ts';
import type { Archive } from '../postgres/archive.ts';
import type { OwningTable, RelationOwners } from './catalogue.ts';

/** What a later run of a live job has to know of the schema that it finds on the target. */
export interface StoredSchema {
  /** Fitted to the target. */
  readonly archive: Archive;
  readonly owners: RelationOwners;
  /** Refused without harm while the schema was made. */
  readonly problems: readonly RestoreProblem[];
  readonly todo: readonly string[];
  readonly targetExtensions: readonly string[];
  /** Everything of post-data that does not wait for the cutover stands. */
  readonly restBuilt: boolean;
}

const FORMAT = 1;

interface Written extends Omit<StoredSchema, 'archive' | 'owners'>, Archive {
  readonly format: number;
  readonly tableOfIndex: readonly (readonly [number, OwningTable])[];
  readonly tableOfConstraint: readonly (readonly [number, OwningTable])[];
  readonly locksOfForeignKey: readonly (readonly [number, readonly number[]])[];
}

export function writeStoredSchema(schema: StoredSchema): string {
  const written: Written = {
    format: FORMAT,
    entries: schema.archive.entries,
    tableOfIndex: [...schema.owners.tableOfIndex],
    tableOfConstraint: [...schema.owners.tableOfConstraint],
    locksOfForeignKey: [...schema.owners.locksOfForeignKey],
    problems: schema.problems,
    todo: schema.todo,
    targetExtensions: schema.targetExtensions,
    restBuilt: schema.restBuilt,
  };
  return JSON.stringify(written);
}

function isWritten(value: unknown): value is Written {
  if (typeof value !== 'object' || value === null || Reflect.get(value, 'format') !== FORMAT) return false;
  const lists = [
    'entries',
    'tableOfIndex',
    'tableOfConstraint',
    'locksOfForeignKey',
    'problems',
    'todo',
    'targetExtensions',
  ];
  return lists.every((key) => Array.isArray(Reflect.get(value, key)));
}

/** The inverse of `writeStoredSchema`. @throws PgsluiceError ARCHIVE_UNREADABLE for text that it did not write. */
export function readStoredSchema(json: string): StoredSchema {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    value = null;
  }
  if (!isWritten(value)) {
    throw new PgsluiceError({
      code: 'ARCHIVE_UNREADABLE',
      message: 'What the target keeps of the source’s schema for this job was written by another version of pgsluice.',
      hint: 'Go on with the version of pgsluice that began the job, or cancel it and begin it anew with this one.',
    });
  }
  return {
    archive: { entries: value.entries },
    owners: {
      tableOfIndex: new Map(value.tableOfIndex),
      tableOfConstraint: new Map(value.tableOfConstraint),
      locksOfForeignKey: new Map(value.locksOfForeignKey),
    },
    problems: value.problems,
    todo: value.todo,
    targetExtensions: value.targetExtensions,
    restBuilt: value.restBuilt,
  };
}
