import type { ArchiveEntry } from './archive.ts';

/** Publications and replication slots that follow a source are named by this and their job. */
const OWN_PREFIX = 'pgsluice_';
/** Schema in which a target keeps how far a job has come. */
export const OWN_SCHEMA = 'pgsluice_live';

/** Entries about a publication: itself, and what it publishes (pg_dump names the latter `publication relation`). */
const PUBLICATION_TYPES: ReadonlySet<string> = new Set([
  'PUBLICATION',
  'PUBLICATION TABLE',
  'PUBLICATION TABLES IN SCHEMA',
]);

/** Entries that say something about another object, which their name begins with. */
const ABOUT_TYPES: ReadonlySet<string> = new Set(['COMMENT', 'SECURITY LABEL', 'ACL']);

/**
 * Whether an archive's entry is something that a job made for itself on the server: its publication, or anything in the
 * schema of its progress. Such entries are no part of the database that is moved: not of its copy, and not of a comparison.
 * Pure.
 */
export function isOwnObject(entry: Pick<ArchiveEntry, 'type' | 'schema' | 'name'>): boolean {
  if (entry.schema === OWN_SCHEMA) return true;
  if (entry.type === 'SCHEMA') return entry.name === OWN_SCHEMA;
  if (PUBLICATION_TYPES.has(entry.type)) return entry.name.startsWith(OWN_PREFIX);
  if (!ABOUT_TYPES.has(entry.type)) return false;
  return entry.name.startsWith(`PUBLICATION ${OWN_PREFIX}`) || entry.name === `SCHEMA ${OWN_SCHEMA}`;
}
