import type { Manifest } from '../contract/manifest.ts';
import type { Toc, TocEntry } from '../postgres/archive-toc.ts';
import { isExcludedExtension } from '../postgres/extensions.ts';
import type { InstalledExtension, OfferedExtension } from '../postgres/extensions.ts';

/** An extension that an archive makes. */
export interface ArchiveExtension {
  readonly name: string;
  /** null: the archive leaves it to the server. */
  readonly schema: string | null;
  /** As the source had it; null: the archive does not say, since pg_dump does not. */
  readonly version: string | null;
}

/** The extensions among the chosen entries. Pure. */
export function archiveExtensions(
  toc: Toc,
  chosen: ReadonlySet<number>,
  manifest: Manifest | null,
): ArchiveExtension[] {
  const told = new Map((manifest?.extensions ?? []).map((extension) => [extension.name, extension]));
  return toc.entries
    .filter((entry) => entry.type === 'EXTENSION' && chosen.has(entry.dumpId))
    .map(({ name, definition }) => {
      const [, schema] = / WITH SCHEMA ("(?:[^"]|"")*"|[^\s";]+);/.exec(definition) ?? [];
      const plain = schema?.startsWith('"') === true ? schema.slice(1, -1).replaceAll('""', '"') : schema;
      const one = told.get(name);
      return { name, schema: one?.schema ?? plain ?? null, version: one?.version ?? null };
    });
}

/**
 * The same as they stood on the source, for plans and judges that ask for that. Where a version or schema is not known, the target's
 * stands in for it: whatever the target has or would install is then right. Pure.
 */
export function asInstalled(
  extensions: readonly ArchiveExtension[],
  offered: readonly OfferedExtension[],
): InstalledExtension[] {
  return extensions.map(({ name, schema, version }) => {
    const offer = offered.find((one) => one.name === name);
    const standing = offer?.installed ?? null;
    return {
      name,
      version: version ?? standing?.version ?? offer?.defaultVersion ?? '',
      schema: schema ?? standing?.schema ?? 'public',
      relocatable: false,
    };
  });
}

/** Extensions on whose members chosen entries stand: pg_dump puts the extension in the place of its members. Pure. */
export function usedExtensions(toc: Toc, chosen: ReadonlySet<number>): string[] {
  const used = new Set(
    toc.entries.filter(({ dumpId }) => chosen.has(dumpId)).flatMap(({ dependencies }) => dependencies),
  );
  return toc.entries.filter(({ type, dumpId }) => type === 'EXTENSION' && used.has(dumpId)).map(({ name }) => name);
}

/** What goes with extensions that are left out of an archive. */
export interface ExcludedEntries {
  /** Names of the extensions, those that require them included. */
  readonly extensions: readonly string[];
  /** dumpIds of all that goes. */
  readonly ids: ReadonlySet<number>;
}

/** Everything that stands on the extensions of these globs, by what the archive's entries depend on. Pure. */
export function excludedEntries(toc: Toc, globs: readonly string[]): ExcludedEntries {
  if (globs.length === 0) return { extensions: [], ids: new Set() };
  const ids = standingOn(
    toc,
    toc.entries.filter(({ type, name }) => type === 'EXTENSION' && isExcludedExtension(globs, name)),
  );
  const extensions = toc.entries.filter(({ type, dumpId }) => type === 'EXTENSION' && ids.has(dumpId));
  return { extensions: extensions.map(({ name }) => name), ids };
}

/** dumpIds of the entries and of all that depend on them, however far; `takes`: whether one takes its dependent along. Pure. */
export function standingOn(
  toc: Toc,
  entries: readonly TocEntry[],
  takes: (entry: TocEntry, dependent: TocEntry) => boolean = () => true,
): Set<number> {
  const dependents = new Map<number, TocEntry[]>();
  for (const entry of toc.entries) {
    for (const id of entry.dependencies) {
      const list = dependents.get(id);
      if (list === undefined) dependents.set(id, [entry]);
      else list.push(entry);
    }
  }
  const found = new Set(entries);
  for (const entry of found)
    for (const next of dependents.get(entry.dumpId) ?? []) if (takes(entry, next)) found.add(next);
  return new Set([...found].map(({ dumpId }) => dumpId));
}
