import type { ArchiveEntry } from './archive.ts';
import { rolesOfEntry } from './map-roles.ts';
import { quoteIdent } from './quote.ts';

/**
 * An ordinary role may give an object only to a role that may CREATE in its schema (a publication: in the database), which the
 * source's grants, restored last, need not say (PostgreSQL documentation, ALTER TABLE). So the right is lent for that moment.
 */
const LENT = '/* lent for ALTER … OWNER TO */ ';

export interface Lending {
  /** The connecting role. */
  readonly self: string;
  readonly database: string;
  /** Owners of the schemas, those that the archive makes included. */
  readonly schemaOwners: ReadonlyMap<string, string>;
  /** Whether the role may create there without being lent the right. */
  mayCreate(role: string, schema: string): boolean;
  mayCreateInDatabase(role: string): boolean;
}

/** Kinds that stand in no schema and whose new owner needs CREATE on the database. */
const inDatabase: ReadonlySet<string> = new Set(['PUBLICATION']);

/** The entry with the right to create around each change of owner that needs it. Pure. */
export function lendCreate(entry: ArchiveEntry, lending: Lending): ArchiveEntry {
  const last = entry.statements.at(-1);
  if (last === undefined || !/\bOWNER TO\b/.test(last)) return entry;
  const statements = entry.statements.flatMap((statement) => {
    const [owner] = rolesOfEntry({ ...entry, statements: [statement] }).keys();
    if (owner === undefined || owner === lending.self || !/^ALTER\b/.test(statement)) return [statement];
    const where = placeOf(entry, owner, lending);
    if (where === null) return [statement];
    const role = quoteIdent(owner);
    return [`${LENT}GRANT CREATE ON ${where} TO ${role};`, statement, `${LENT}REVOKE CREATE ON ${where} FROM ${role};`];
  });
  return { ...entry, statements };
}

function placeOf(entry: ArchiveEntry, owner: string, lending: Lending): string | null {
  if (inDatabase.has(entry.type)) {
    return lending.mayCreateInDatabase(owner) ? null : `DATABASE ${quoteIdent(lending.database)}`;
  }
  const { schema } = entry;
  if (schema === null || lending.schemaOwners.get(schema) === owner || lending.mayCreate(owner, schema)) return null;
  return `SCHEMA ${quoteIdent(schema)}`;
}

/** The counterpart of {@link lendCreate}: as pg_dump prints it. Pure. */
export function withoutLending(entry: ArchiveEntry): ArchiveEntry {
  if (!entry.statements.some((statement) => statement.startsWith(LENT))) return entry;
  return { ...entry, statements: entry.statements.filter((statement) => !statement.startsWith(LENT)) };
}
