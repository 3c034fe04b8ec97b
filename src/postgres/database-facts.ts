import { quoteIdent, quoteLiteral } from './quote.ts';
import type { Session } from './session.ts';
import { SQLSTATE, sqlStateOf } from './sqlstate.ts';

/** A database as CREATE DATABASE and ALTER DATABASE make it; a manifest's `source` is one as well. */
export interface DatabaseFacts {
  readonly encoding: string;
  /** `libc`, `icu` or `builtin`. */
  readonly localeProvider: string;
  readonly collate: string;
  readonly ctype: string;
  /** Of ICU or the builtin provider; null for libc. */
  readonly locale: string | null;
  readonly icuRules: string | null;
  readonly owner: string;
  readonly comment: string | null;
  /** `name=value` of ALTER DATABASE … SET. */
  readonly settings: readonly string[];
  /** -1 or left out: no limit. */
  readonly connectionLimit?: number;
  /** null: the rights every database starts with; left out where they are not known. */
  readonly grants?: readonly DatabaseGrant[] | null;
}

export interface DatabaseGrant {
  /** null: PUBLIC. */
  readonly grantee: string | null;
  readonly privilege: string;
  readonly grantable: boolean;
}

/** Columns differ by major: 15 brought datlocprovider, 16 daticurules, 17 renamed daticulocale. */
const FACTS = `
SELECT pg_encoding_to_char(d.encoding)::text AS encoding,
  CASE COALESCE(j->>'datlocprovider', 'c') WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END AS "localeProvider",
  j->>'datcollate' AS collate, j->>'datctype' AS ctype, COALESCE(j->>'datlocale', j->>'daticulocale') AS locale,
  j->>'daticurules' AS "icuRules", pg_get_userbyid(d.datdba)::text AS owner, shobj_description(d.oid, 'pg_database') AS comment,
  ARRAY(SELECT c FROM pg_db_role_setting s, unnest(s.setconfig) c WHERE s.setdatabase = d.oid AND s.setrole = 0) AS settings,
  d.datconnlimit AS "connectionLimit",
  CASE WHEN d.datacl IS NOT NULL THEN
    COALESCE((SELECT json_agg(json_build_object('grantee', CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END,
                                                'privilege', a.privilege_type, 'grantable', a.is_grantable))
              FROM aclexplode(d.datacl) a), '[]') END AS grants
FROM pg_database d, LATERAL (SELECT to_jsonb(d) AS j) x WHERE d.datname = COALESCE($1, current_database())`;

/** Of the session's database, or of another one of its server. */
export async function readDatabaseFacts(session: Session, name: string | null = null): Promise<DatabaseFacts> {
  const [row] = await session.query<DatabaseFacts & Record<string, unknown>>(FACTS, [name]);
  if (row === undefined) throw new Error(`The database ${name ?? 'that the session stands in'} is not in pg_database.`);
  return row;
}

export interface CreateDatabase {
  readonly statement: string;
  /** What of the source's locale this version cannot have: one sentence each. */
  readonly lost: readonly string[];
}

/** First major of each: PostgreSQL documentation, CREATE DATABASE of 15, 16, 17 and 18. */
const PROVIDERS_SINCE = 15;
const ICU_RULES_SINCE = 16;
const BUILTIN_SINCE = 17;
const PG_UNICODE_FAST_SINCE = 18;

/** The statement that makes a database like the source's on a server of this major, from template0. Pure. */
export function createDatabase(name: string, facts: DatabaseFacts, major: number): CreateDatabase {
  const lost: string[] = [];
  const words = [`CREATE DATABASE ${quoteIdent(name)} TEMPLATE template0 ENCODING ${quoteLiteral(facts.encoding)}`];
  const categories = `LC_COLLATE ${quoteLiteral(facts.collate)} LC_CTYPE ${quoteLiteral(facts.ctype)}`;
  const locale = facts.locale ?? '';
  if (facts.localeProvider === 'icu' && major >= PROVIDERS_SINCE) {
    words.push(`LOCALE_PROVIDER icu ICU_LOCALE ${quoteLiteral(locale)}`);
    if (facts.icuRules !== null && major >= ICU_RULES_SINCE) words.push(`ICU_RULES ${quoteLiteral(facts.icuRules)}`);
    else if (facts.icuRules !== null) lost.push(`PostgreSQL ${major} has no ICU rules of a database`);
  } else if (facts.localeProvider === 'builtin' && major >= BUILTIN_SINCE) {
    const known = locale !== 'PG_UNICODE_FAST' || major >= PG_UNICODE_FAST_SINCE;
    words.push(`LOCALE_PROVIDER builtin BUILTIN_LOCALE ${quoteLiteral(known ? locale : 'C.UTF-8')}`);
    if (!known) lost.push(`PostgreSQL ${major} has no builtin locale ${locale}: C.UTF-8 takes its place`);
  } else {
    if (major >= PROVIDERS_SINCE) words.push('LOCALE_PROVIDER libc');
    if (facts.localeProvider !== 'libc') {
      const provider = facts.localeProvider === 'icu' ? 'ICU' : 'builtin';
      lost.push(
        `PostgreSQL ${major} has no ${provider} locale of a database (${locale}): text sorts by ${facts.collate}`,
      );
    }
  }
  return { statement: [...words, categories].join(' '), lost };
}

/** Databases in which a role may stand while the one it needs does not exist. */
export function maintenanceDatabases(wanted: string, user: string): string[] {
  return [...new Set(['postgres', 'template1', user])].filter((name) => name !== wanted);
}

/**
 * Which of these locales the server's operating system lacks. lc_time is set as CREATE DATABASE checks its locales, may be set by
 * everybody, and only for the session (PostgreSQL source, pg_locale.c check_locale).
 */
export async function missingLocales(session: Session, locales: readonly string[]): Promise<string[]> {
  const missing: string[] = [];
  const [before] = await session.query<{ value: string }>(`SELECT current_setting('lc_time') AS value`);
  for (const locale of new Set(locales)) {
    try {
      await session.query(`SELECT set_config('lc_time', $1, false)`, [locale]);
    } catch (error) {
      if (sqlStateOf(error) !== SQLSTATE.invalidParameterValue) throw error;
      missing.push(locale);
    }
  }
  await session.query(`SELECT set_config('lc_time', $1, false)`, [before?.value ?? 'C']);
  return missing;
}

/** Whether the server can compare text by ICU. */
export async function hasIcu(session: Session): Promise<boolean> {
  const rows = await session.query(`SELECT FROM pg_collation WHERE collprovider = 'i' LIMIT 1`);
  return rows.length > 0;
}
