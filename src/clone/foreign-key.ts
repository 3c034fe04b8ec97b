import type { ArchiveEntry } from '../postgres/archive.ts';
import type { RelationOwners } from './catalogue.ts';
import type { ForeignKeyName } from './staged-types.ts';

/** As pg_dump prints it: quoted where it has to be, and always with its schema. */
const IDENTIFIER = String.raw`("(?:[^"]|"")+"|[^\s".]+)`;
const FOREIGN_KEY = new RegExp(
  String.raw`^ALTER TABLE (?:ONLY )?${IDENTIFIER}\.${IDENTIFIER}\s+ADD CONSTRAINT ${IDENTIFIER} FOREIGN KEY `,
);
/** No name can end a statement: a list of columns or other keywords do. */
const UNCHECKED = / NOT (VALID|ENFORCED);$/;

function unquoted(identifier: string): string {
  return identifier.startsWith('"') ? identifier.slice(1, -1).replaceAll('""', '"') : identifier;
}

/** The key that an archive's entry makes; null for any other entry. Pure. */
export function foreignKeyOf(entry: ArchiveEntry): ForeignKeyName | null {
  const [statement] = entry.statements;
  const found = entry.type === 'FK CONSTRAINT' && statement !== undefined ? FOREIGN_KEY.exec(statement) : null;
  if (found === null) return null;
  const [schema, table, name] = found.slice(1).map(unquoted);
  return schema === undefined || table === undefined || name === undefined ? null : { schema, table, name };
}

export interface PlannedForeignKey {
  readonly entry: ArchiveEntry;
  /** Its name when it is made NOT VALID here and is to be validated; null when it is made as printed. */
  readonly later: ForeignKeyName | null;
  /** Its rows are checked at once. */
  readonly checksNow: boolean;
}

/**
 * How a foreign key is made without looking at a row. A key that is NOT VALID or NOT ENFORCED on the source stays so; on a
 * partitioned referencing table NOT VALID exists from 18 on (release notes of 18, "E.1.3.4.2 Constraints"), before that the key
 * is checked as it is made. Pure.
 */
export function planForeignKey(entry: ArchiveEntry, owners: RelationOwners, targetMajor: number): PlannedForeignKey {
  const [statement, ...others] = entry.statements;
  const name = foreignKeyOf(entry);
  if (statement === undefined || name === null) return { entry, later: null, checksNow: true };
  if (UNCHECKED.test(statement)) return { entry, later: null, checksNow: false };
  const partitioned = owners.tableOfConstraint.get(entry.oid)?.kind === 'p';
  if (partitioned && targetMajor < 18) return { entry, later: null, checksNow: true };
  const unchecked = statement.replace(/;$/, ' NOT VALID;');
  return { entry: { ...entry, statements: [unchecked, ...others] }, later: name, checksNow: false };
}
