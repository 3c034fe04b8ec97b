import type { Session } from '../postgres/session.ts';
import type { Findings } from './findings.ts';
import { askBoth } from './sides.ts';
import type { Sides } from './sides.ts';

interface ExtensionRow {
  name: string;
  version: string;
}

/** Indexes that a failed CREATE INDEX CONCURRENTLY left behind; pg_dump leaves them out (its getIndexes()). */
const INVALID_INDEXES = `
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT (i.indisvalid AND i.indisready) AND t.relkind <> 'p'
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY 1`;

const EXTENSIONS = 'SELECT extname::text AS name, extversion AS version FROM pg_extension ORDER BY 1';

async function listExtensions(session: Session): Promise<Map<string, string>> {
  const rows = await session.query<ExtensionRow & { [column: string]: unknown }>(EXTENSIONS);
  return new Map(rows.map((row) => [row.name, row.version]));
}

/** Sentences about extensions that both sides have in different versions. Pure. */
export function extensionNotes(source: ReadonlyMap<string, string>, target: ReadonlyMap<string, string>): string[] {
  return [...source].flatMap(([name, version]) => {
    const other = target.get(name);
    if (other === undefined || other === version) return [];
    return [
      `Extension ${name} is version ${version} on the source and ${other} on the target: its own objects were not compared.`,
    ];
  });
}

/** What pg_dump does not write and a person should know. */
export async function noteUnwritten(sides: Sides, findings: Findings): Promise<void> {
  const invalid = await sides.source((session) => session.query<{ name: string }>(INVALID_INDEXES));
  if (invalid.length > 0) {
    findings.note(
      `Invalid indexes of the source are not moved; rebuild or drop them there: ${invalid.map((row) => row.name).join(', ')}.`,
    );
  }
  const [source, target] = await askBoth(sides, listExtensions);
  for (const sentence of extensionNotes(source, target)) findings.note(sentence);
}
