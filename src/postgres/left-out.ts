import type { Archive, ArchiveEntry } from './archive.ts';

/**
 * What a target's role cannot carry and validation has named, by keys: `class/oid` of an object on the source, or
 * `ACL [schema, name]` for grants on something that the archive does not make.
 */
export type LeftOut = ReadonlySet<string>;

export const objectKey = (classOid: number, oid: number | string): string => `${classOid}/${oid}`;
export const grantKey = (schema: string | null, name: string): string => `ACL ${JSON.stringify([schema, name])}`;

/** Entries that only say something about another one, or are a part of it. */
const attached: ReadonlySet<string> = new Set([
  'ACL',
  'ACL LANGUAGE',
  'COMMENT',
  'SECURITY LABEL',
  'PUBLICATION TABLE',
  'PUBLICATION TABLES IN SCHEMA',
]);

/** The archive without what is left out, and that with what is said about it, in the archive's order. Pure. */
export function withoutLeftOut(
  archive: Archive,
  leftOut: LeftOut,
): { archive: Archive; left: readonly ArchiveEntry[] } {
  if (leftOut.size === 0) return { archive, left: [] };
  const named = new Set(archive.entries.filter((entry) => isNamed(entry, leftOut)));
  const types = new Set(
    [...named].filter(({ type }) => type === 'TYPE').map(({ schema, name }) => grantKey(schema, name)),
  );
  const servers = [...named].filter(({ type }) => type === 'SERVER').map(({ name }) => ` SERVER ${name}`);
  const ids = new Set([...named].map(({ dumpId }) => dumpId));
  const goes = (entry: ArchiveEntry): boolean =>
    named.has(entry) ||
    (entry.type === 'SHELL TYPE' && types.has(grantKey(entry.schema, entry.name))) ||
    // pg_dump gives it no dependency.
    (entry.type === 'USER MAPPING' && servers.some((server) => entry.name.endsWith(server))) ||
    (attached.has(entry.type) && entry.dependencies.some((id) => ids.has(id)));
  const left = archive.entries.filter(goes);
  const gone = new Set(left);
  return { archive: { entries: archive.entries.filter((entry) => !gone.has(entry)) }, left };
}

function isNamed(entry: ArchiveEntry, leftOut: LeftOut): boolean {
  if (entry.type === 'ACL') return leftOut.has(grantKey(entry.schema, entry.name));
  return entry.oid !== 0 && !attached.has(entry.type) && leftOut.has(objectKey(entry.classOid, entry.oid));
}
