import type { Archive, ArchiveEntry } from '../postgres/archive.ts';
import type { RelationFilter } from '../postgres/filters.ts';
import { withoutLeftOut } from '../postgres/left-out.ts';
import { mapEntryRoles, mapsRoles } from '../postgres/map-roles.ts';
import { isOwnObject } from '../postgres/own-objects.ts';
import { quoteIdent } from '../postgres/quote.ts';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import { log } from './context.ts';
import type { TargetContext } from './context.ts';
import { asOrdinaryRole } from './ordinary-role.ts';
import { adaptToTarget, entryName } from './restore.ts';

export interface FittedArchive {
  readonly archive: Archive;
  /** Extensions that the target has and the archive does not bring. */
  readonly targetExtensions: readonly string[];
  /** What of the archive the target's role cannot carry: the copy goes without, a comparison names it. */
  readonly left: readonly ArchiveEntry[];
}

/**
 * The source's archive as this target takes it, without what a job of pgsluice made for itself; also what verification holds
 * the target against.
 */
export async function fitArchive(context: TargetContext, archive: Archive): Promise<FittedArchive> {
  const { target, targetVersion, signal } = context;
  const session = await openSession(target, { signal, side: 'target', purpose: 'schema', retryForMs: 30_000 });
  try {
    const spaces = await session.query<{ name: string }>(
      `SELECT spcname AS name FROM pg_tablespace WHERE has_tablespace_privilege(oid, 'CREATE')`,
    );
    const extensions = await session.query<{ name: string }>('SELECT extname AS name FROM pg_extension');
    const about = { major: targetVersion.major, tablespaces: new Set(spaces.map((row) => row.name)) };
    const { mapRole } = context.options;
    const mapped = archive.entries
      .filter((entry) => !isOwnObject(entry))
      .map((entry) => (mapsRoles(mapRole) ? mapEntryRoles(entry, mapRole) : entry))
      .map((entry) => adaptToTarget(entry, about));
    const kept = withoutLeftOut({ entries: mapped }, context.leftOut ?? new Set());
    const entries = await asOrdinaryRole(session, kept.archive.entries, context.replaceTarget);
    const brought = new Set(entries.filter(({ type }) => type === 'EXTENSION').map(({ name }) => name));
    const foreign = extensions.map(({ name }) => name).filter((name) => name !== 'plpgsql' && !brought.has(name));
    return { archive: { entries }, targetExtensions: foreign, left: kept.left };
  } finally {
    await session.close();
  }
}

/** Logs what is left out, and answers the sentence for the report. */
export function tellLeft(context: Pick<TargetContext, 'emit'>, left: readonly ArchiveEntry[]): string[] {
  const objects = left.filter(
    ({ type, dependencies }) => type !== 'COMMENT' && !(type === 'ACL' && dependencies.length > 0),
  );
  if (objects.length === 0) return [];
  const names = objects.map((entry) => `${entry.type} ${entryName(entry)}`).join(', ');
  const sentence = `Left out, since the target's role cannot carry them: ${names}. A superuser may make them from the source's schema.`;
  log(context, 'warn', sentence);
  return [sentence];
}

/** With table filters pg_dump leaves the schemas out that the tables stand in. */
export async function makeMissingSchemas(
  target: Session,
  entries: readonly ArchiveEntry[],
  filter: RelationFilter,
): Promise<void> {
  if (filter.includeTable.length === 0) return;
  const schemas = new Set(entries.map((entry) => entry.schema).filter((schema) => schema !== null));
  // Even with IF NOT EXISTS it takes the right to create schemas, which a role may lack where none is missing.
  const present = await target.query<{ name: string }>('SELECT nspname AS name FROM pg_namespace');
  for (const { name } of present) schemas.delete(name);
  for (const schema of schemas) await target.run(`CREATE SCHEMA IF NOT EXISTS ${quoteIdent(schema)}`);
}
