import { PgsluiceError } from '../errors.ts';
import type { ArchiveEntry } from './archive.ts';
import type { TocEntry } from './archive-toc.ts';
import { tokenizeSql } from './sql-lexer.ts';

/**
 * What is restored is what an archive lists, and nothing beside it. pg_restore prints an archive as one text, in which a name with a
 * line break could become a statement (CVE-2025-8715), and a source that lies could have pg_dump write anything. So each statement
 * has to stand in its entry of the table of contents, where lengths are counted and nothing can be smuggled, and has to be of the
 * kind that such an entry is made of.
 */

const table = /^ALTER (FOREIGN )?TABLE /;

/** How statements of a type begin, beside `ALTER <type>`; types as pg_dump names them (pg_dump.c, ArchiveEntry). */
const begins: Readonly<Record<string, readonly RegExp[]>> = {
  'ACCESS METHOD': [/^CREATE ACCESS METHOD /],
  ACL: [/^(GRANT|REVOKE) .* ON /s, /^SET SESSION AUTHORIZATION /, /^RESET SESSION AUTHORIZATION;$/],
  AGGREGATE: [/^CREATE AGGREGATE /],
  BLOB: [/^SELECT pg_catalog\.lo_create\('?\d+'?\);$/, /^ALTER LARGE OBJECT /],
  'BLOB METADATA': [/^SELECT pg_catalog\.lo_create\('?\d+'?\);$/, /^ALTER LARGE OBJECT /],
  CAST: [/^CREATE CAST /],
  'CHECK CONSTRAINT': [table, /^ALTER DOMAIN /],
  COLLATION: [/^CREATE COLLATION /],
  COMMENT: [/^COMMENT ON /],
  CONSTRAINT: [table, /^ALTER (DOMAIN|INDEX) /],
  CONVERSION: [/^CREATE (DEFAULT )?CONVERSION /],
  DEFAULT: [table],
  'DEFAULT ACL': [/^ALTER DEFAULT PRIVILEGES /],
  DOMAIN: [/^CREATE DOMAIN /],
  ENCODING: [/^SET client_encoding = '[\w-]+';$/],
  'EVENT TRIGGER': [/^CREATE EVENT TRIGGER /],
  EXTENSION: [/^CREATE EXTENSION /],
  'FK CONSTRAINT': [table],
  'FOREIGN DATA WRAPPER': [/^CREATE FOREIGN DATA WRAPPER /],
  'FOREIGN TABLE': [/^CREATE FOREIGN TABLE /, table],
  FUNCTION: [/^CREATE (OR REPLACE )?FUNCTION /, /^ALTER ROUTINE /],
  INDEX: [/^CREATE (UNIQUE )?INDEX /, table],
  'INDEX ATTACH': [/^ALTER INDEX /],
  'LARGE OBJECT': [/^ALTER LARGE OBJECT /],
  'MATERIALIZED VIEW': [/^CREATE (UNLOGGED )?MATERIALIZED VIEW /, table],
  'MATERIALIZED VIEW DATA': [/^REFRESH MATERIALIZED VIEW /],
  OPERATOR: [/^CREATE OPERATOR /],
  'OPERATOR CLASS': [/^CREATE OPERATOR CLASS /],
  'OPERATOR FAMILY': [/^CREATE OPERATOR FAMILY /],
  POLICY: [/^CREATE POLICY /],
  'PROCEDURAL LANGUAGE': [/^CREATE (OR REPLACE )?(TRUSTED )?(PROCEDURAL )?LANGUAGE /, /^ALTER LANGUAGE /],
  PROCEDURE: [/^CREATE (OR REPLACE )?PROCEDURE /, /^ALTER ROUTINE /],
  PUBLICATION: [/^CREATE PUBLICATION /],
  'PUBLICATION TABLE': [/^ALTER PUBLICATION /],
  'PUBLICATION TABLES IN SCHEMA': [/^ALTER PUBLICATION /],
  'ROW SECURITY': [table],
  RULE: [/^CREATE (OR REPLACE )?(RULE|VIEW) /, table, /^ALTER VIEW /],
  SCHEMA: [/^CREATE SCHEMA /],
  SEARCHPATH: [/^SELECT pg_catalog\.set_config\('search_path', '[^']*', false\);$/],
  'SECURITY LABEL': [/^SECURITY LABEL /],
  SEQUENCE: [/^CREATE (UNLOGGED )?SEQUENCE /, table],
  'SEQUENCE OWNED BY': [/^ALTER SEQUENCE /],
  'SEQUENCE SET': [/^SELECT pg_catalog\.setval\('(?:[^']|'')*', -?\d+, (true|false)\);$/],
  SERVER: [/^CREATE SERVER /],
  'SHELL TYPE': [/^CREATE TYPE /],
  STATISTICS: [/^CREATE STATISTICS /],
  'STATISTICS DATA': [/^SELECT \* FROM pg_catalog\.pg_(restore|clear)_\w+\(/],
  STDSTRINGS: [/^SET standard_conforming_strings = '?(on|off)'?;$/],
  SUBSCRIPTION: [/^CREATE SUBSCRIPTION /],
  TABLE: [/^CREATE (UNLOGGED )?TABLE /, table],
  'TABLE ATTACH': [table],
  TRANSFORM: [/^CREATE TRANSFORM /],
  TRIGGER: [/^CREATE (CONSTRAINT )?TRIGGER /, table],
  TYPE: [/^CREATE TYPE /],
  'USER MAPPING': [/^CREATE USER MAPPING /],
  VIEW: [/^CREATE (OR REPLACE )?(RECURSIVE )?VIEW /, table],
};

/** Of a type that came after this was written: objects of the database at hand, never the server's. */
const anyObject = /^(CREATE|ALTER|COMMENT ON|SECURITY LABEL|(GRANT|REVOKE) .* ON|SELECT pg_catalog\.)\b/s;
const ofTheServer = /^(CREATE|ALTER) (SYSTEM|ROLE|USER(?! MAPPING)|GROUP|DATABASE|TABLESPACE)\b/;

/** Whether a statement is of the kind that an entry of this type is made of. Pure. */
export function fitsType(type: string, statement: string): boolean {
  const known = begins[type] ?? (/^TEXT SEARCH \w+$/.test(type) ? [new RegExp(`^CREATE ${type} `)] : null);
  if (known === null) return anyObject.test(statement) && !ofTheServer.test(statement);
  return known.some((begin) => begin.test(statement)) || statement.startsWith(`ALTER ${type} `);
}

/** What pg_restore adds to what an entry says: its owner, and how an older server stores it. */
const owned = /^ALTER [A-Z ]+ .* OWNER TO ("(?:[^"]|"")*"|[^\s";]+);$/s;
const added: readonly RegExp[] = [
  /^ALTER TABLE ("(?:[^"]|"")*"|[^\s";]+) SET ACCESS METHOD ("(?:[^"]|"")*"|[^\s";]+);$/,
  /^SELECT pg_catalog\.lo_create\('\d+'\);$/,
];

function ownerOf(statement: string): string | null {
  const name = owned.exec(statement)?.[1];
  if (name === undefined) return null;
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name;
}

function notAsListed(entry: Pick<ArchiveEntry, 'type' | 'name'>, why: string, statement: string): PgsluiceError {
  const shown = statement.length > 300 ? `${statement.slice(0, 300)} …` : statement;
  return new PgsluiceError({
    code: 'ARCHIVE_NOT_AS_LISTED',
    message: `Under ${entry.type} ${entry.name} the archive holds a statement ${why}: ${shown}`,
    hint: 'Nothing of it was run. Somebody may have put it there: look at the source, or at who had the archive; update pg_dump and pg_restore to their newest minor release.',
  });
}

/** As pg_restore writes a name into a comment (pg_backup_archiver.c, sanitize_line). */
const oneLine = (text: string): string => text.replaceAll(/[\n\r]/g, ' ');

/**
 * Holds what pg_restore has printed against the table of contents. `clean` is applied to both before they are compared.
 * @returns the entries, with type, schema, name and owner as listed rather than as read off a comment.
 * @throws PgsluiceError ARCHIVE_NOT_AS_LISTED. Pure.
 */
export function asListed(
  entries: readonly ArchiveEntry[],
  toc: readonly TocEntry[],
  escapes: boolean,
  clean: (statement: string) => string | null,
): ArchiveEntry[] {
  const byId = new Map(toc.map((entry) => [entry.dumpId, entry]));
  return entries.map((printed) => {
    const listed = byId.get(printed.dumpId);
    const [first = ''] = printed.statements;
    if (listed === undefined) throw notAsListed(printed, 'though its table of contents knows no such entry', first);
    const { type, schema } = listed;
    const entry: ArchiveEntry = {
      ...printed,
      type,
      schema,
      name: oneLine(listed.name),
      owner: printed.owner === null || listed.owner === '' ? null : listed.owner,
    };
    const says = new Set<string>();
    for (const token of tokenizeSql(listed.definition, escapes)) {
      const statement = token.kind === 'statement' ? clean(token.text) : null;
      if (statement !== null) says.add(statement);
    }
    for (const statement of entry.statements) {
      const owner = ownerOf(statement);
      const adds = owner === null ? added.some((one) => one.test(statement)) : owner === listed.owner;
      if (!says.has(statement) && !adds) throw notAsListed(entry, 'that its table of contents does not', statement);
      if (!fitsType(type, statement) && owner === null) throw notAsListed(entry, 'that makes no such thing', statement);
    }
    return entry;
  });
}
