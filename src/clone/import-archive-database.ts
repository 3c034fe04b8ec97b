import type { Manifest } from '../contract/manifest.ts';
import type { Toc, TocEntry } from '../postgres/archive-toc.ts';
import type { DatabaseFacts, DatabaseGrant } from '../postgres/database-facts.ts';
import { tokenizeSql } from '../postgres/sql-lexer.ts';
import { storedSetting } from '../postgres/stored-settings.ts';
import { archiveEncoding } from './import-archive-entries.ts';

/** What a target's database starts with where the archive says nothing of its locale. */
export type DefaultLocale = Pick<DatabaseFacts, 'localeProvider' | 'collate' | 'ctype' | 'locale' | 'icuRules'>;

export interface DatabaseOfArchive {
  readonly facts: DatabaseFacts;
  /** What of the database the archive does not say: one sentence each. */
  readonly unknown: readonly string[];
}

const name = '(?:"(?:[^"]|"")*"|[^\\s";]+)';
const literal = "'(?:[^']|'')*'";

const unquotedName = (text: string): string => (text.startsWith('"') ? text.slice(1, -1).replaceAll('""', '"') : text);
const unquotedLiteral = (text: string): string => text.slice(1, -1).replaceAll("''", "'");

/**
 * What the database was like that an archive was made of: by the manifest, else by pg_dump's own entries, which a custom or directory
 * archive has (pg_dump.c, dumpDatabase), else no more than its encoding. `role` owns it where no owner is known. Pure.
 */
export function databaseOfArchive(
  toc: Toc,
  manifest: Manifest | null,
  { locale, role }: { readonly locale: DefaultLocale; readonly role: string },
): DatabaseOfArchive {
  if (manifest !== null) return ofManifest(manifest);
  const entry = toc.entries.find(({ type }) => type === 'DATABASE');
  const made = entry === undefined ? null : readCreate(entry.definition);
  if (entry === undefined || made === null) {
    return {
      facts: { ...locale, encoding: archiveEncoding(toc), owner: role, comment: null, settings: [] },
      unknown: [
        `The archive says nothing of its database but the encoding: the locale is the target's own, and settings, comment, grants and owner are not carried`,
      ],
    };
  }
  const unknown: string[] = [];
  const { settings, connectionLimit } = readProperties(toc.entries, unknown);
  return {
    facts: {
      ...made,
      owner: entry.owner === '' ? role : entry.owner,
      comment: readComment(toc.entries),
      settings,
      connectionLimit,
      grants: readGrants(toc.entries, unknown),
    },
    unknown,
  };
}

function ofManifest({ source }: Manifest): DatabaseOfArchive {
  const { encoding, localeProvider, collate, ctype, locale, icuRules, owner, comment, settings } = source;
  const { connectionLimit, grants } = source;
  return {
    facts: {
      encoding,
      localeProvider,
      collate,
      ctype,
      locale,
      icuRules,
      owner,
      comment,
      settings,
      ...(connectionLimit === undefined ? {} : { connectionLimit }),
      ...(grants === undefined ? {} : { grants }),
    },
    unknown:
      grants === undefined
        ? [
            'The archive was written by an earlier version, which kept neither grants nor connection limit of the database',
          ]
        : [],
  };
}

/** `CREATE DATABASE a WITH TEMPLATE = template0 ENCODING = 'UTF8' …;`; null where it is none. */
function readCreate(definition: string): (DefaultLocale & { readonly encoding: string }) | null {
  const whole = new RegExp(
    `^CREATE DATABASE ${name} WITH TEMPLATE = template0((?: [A-Z_]+ = (?:${literal}|${name}))*);\\s*$`,
  );
  const [, words] = whole.exec(definition) ?? [];
  if (words === undefined) return null;
  const given = new Map(
    [...words.matchAll(new RegExp(` ([A-Z_]+) = (${literal}|${name})`, 'g'))].map(([, key = '', value = '']) => [
      key,
      value.startsWith("'") ? unquotedLiteral(value) : unquotedName(value),
    ]),
  );
  const encoding = given.get('ENCODING');
  const both = given.get('LOCALE');
  const collate = given.get('LC_COLLATE') ?? both;
  const ctype = given.get('LC_CTYPE') ?? both;
  if (encoding === undefined || collate === undefined || ctype === undefined) return null;
  return {
    encoding,
    localeProvider: given.get('LOCALE_PROVIDER') ?? 'libc',
    collate,
    ctype,
    locale: given.get('ICU_LOCALE') ?? given.get('BUILTIN_LOCALE') ?? null,
    icuRules: given.get('ICU_RULES') ?? null,
  };
}

function statementsOf(entries: readonly TocEntry[], type: string): string[] {
  const about = entries.find((entry) => entry.type === type && (type !== 'ACL' || entry.name.startsWith('DATABASE ')));
  return [...tokenizeSql(about?.definition ?? '')].flatMap(({ kind, text }) => (kind === 'statement' ? [text] : []));
}

function readComment(entries: readonly TocEntry[]): string | null {
  const about = entries.find((entry) => entry.type === 'COMMENT' && entry.name.startsWith('DATABASE '));
  const [, text] = new RegExp(`^COMMENT ON DATABASE ${name} IS (${literal});\\s*$`).exec(about?.definition ?? '') ?? [];
  return text === undefined ? null : unquotedLiteral(text);
}

/** ALTER DATABASE … SET and CONNECTION LIMIT; what is set for a role in it goes with the role. */
function readProperties(
  entries: readonly TocEntry[],
  unknown: string[],
): { settings: string[]; connectionLimit: number } {
  const settings: string[] = [];
  let connectionLimit = -1;
  const set = new RegExp(`^ALTER DATABASE ${name} SET (${name}) (?:TO|=) (${literal}(?:, ${literal})*);$`);
  for (const statement of statementsOf(entries, 'DATABASE PROPERTIES')) {
    const [, parameter, values] = set.exec(statement) ?? [];
    const [, limit] = /^ALTER DATABASE .* CONNECTION LIMIT = (\d+);$/s.exec(statement) ?? [];
    if (parameter !== undefined && values !== undefined) {
      const list = [...values.matchAll(new RegExp(literal, 'g'))].map(([value]) => unquotedLiteral(value));
      const plain = parameter.split('.').map(unquotedName).join('.');
      settings.push(storedSetting(plain, list));
    } else if (limit !== undefined) connectionLimit = Number(limit);
    else if (!statement.startsWith('ALTER ROLE ')) unknown.push(`Not carried: ${statement.slice(0, -1)}`);
  }
  return { settings, connectionLimit };
}

/** PUBLIC has these of every new database, its owner all (PostgreSQL documentation, 5.8 "Privileges"). */
const ofPublic: readonly string[] = ['TEMPORARY', 'CONNECT'];
const ofOwner: readonly string[] = ['CREATE', ...ofPublic];

/** null where the archive changes none. */
function readGrants(entries: readonly TocEntry[], unknown: string[]): DatabaseGrant[] | null {
  const statements = statementsOf(entries, 'ACL');
  if (statements.length === 0) return null;
  const grants = new Map<string, DatabaseGrant>();
  const keyOf = (grantee: string | null, privilege: string): string => JSON.stringify([grantee, privilege]);
  for (const privilege of ofPublic) grants.set(keyOf(null, privilege), { grantee: null, privilege, grantable: false });
  const form = new RegExp(
    `^(GRANT|REVOKE) ([A-Z, ]+) ON DATABASE ${name} (?:TO|FROM) (${name})( WITH GRANT OPTION)?;$`,
  );
  for (const statement of statements) {
    const [, verb, list, to, option] = form.exec(statement) ?? [];
    if (verb === undefined || list === undefined || to === undefined) {
      if (!/^(RE)?SET SESSION AUTHORIZATION\b/.test(statement)) unknown.push(`Not carried: ${statement.slice(0, -1)}`);
      continue;
    }
    const grantee = to === 'PUBLIC' ? null : unquotedName(to);
    const privileges = list === 'ALL' ? ofOwner : list.split(',').map((word) => word.trim());
    for (const privilege of privileges) {
      if (verb === 'REVOKE') grants.delete(keyOf(grantee, privilege));
      else grants.set(keyOf(grantee, privilege), { grantee, privilege, grantable: option !== undefined });
    }
  }
  return [...grants.values()];
}
