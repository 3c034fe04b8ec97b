import { quoteIdent, quoteLiteral } from '../postgres/quote.ts';
import { failed, informed, passed, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { collationVersions } from './collation-versions.ts';
import type { Database } from './database.ts';
import { count, listNames } from './words.ts';

export function judgeEncoding(source: string, target: string): Verdict {
  if (source === 'SQL_ASCII') {
    return warned(
      `The source's encoding is SQL_ASCII: the server never checked its text. The target (${target}) ${target === 'SQL_ASCII' ? 'does not check either' : 'refuses bytes that are not valid in it'}.`,
      target === 'SQL_ASCII'
        ? ''
        : 'A table with such bytes fails and is named; correct its text on the source, then retry.',
    );
  }
  if (source === target) return passed(`Both databases are ${source}.`);
  if (target === 'UTF8')
    return warned(
      `Text is converted from ${source} on the source to UTF8 on the target; every character of ${source} exists there.`,
    );
  return failed(
    'ENCODING_MISMATCH',
    `The source is ${source}, the target ${target}: not every character of the source can be stored there.`,
    `CREATE DATABASE … TEMPLATE template0 ENCODING ${quoteLiteral(source)};`,
  );
}

const ENCODING = `SELECT pg_encoding_to_char(encoding) AS encoding FROM pg_database WHERE datname = current_database()`;

const readEncoding = async (database: Database): Promise<string> =>
  (await database.one<{ encoding: string }>(ENCODING)).encoding;

const encoding: Check = {
  id: 'server.encoding',
  severity: 'blocks',
  title: 'The target can store every character of the source.',
  needs: 'both',
  side: 'both',
  run: async (source, target) => judgeEncoding(await readEncoding(source), await readEncoding(target)),
};

/** A database's default collation. Libraries call one locale by several spellings, hence `sameLocale`. */
export interface Locale {
  readonly provider: string;
  readonly collate: string;
  readonly ctype: string;
  /** ICU or builtin locale; null for libc. */
  readonly locale: string | null;
  /** Version the provider has now; null where it has none or is not known. */
  readonly version: string | null;
}

/** Columns differ by major: 15 brought datlocprovider, 17 renamed daticulocale. */
const LOCALE = (major: number): string => `
SELECT COALESCE(j->>'datlocprovider', 'c') AS provider, j->>'datcollate' AS collate, j->>'datctype' AS ctype,
       COALESCE(j->>'datlocale', j->>'daticulocale') AS locale,
       ${major >= 15 ? 'pg_database_collation_actual_version(d.oid)' : 'NULL::text'} AS version
FROM pg_database d, LATERAL (SELECT to_jsonb(d) AS j) x WHERE d.datname = current_database()`;

const spelled = (name: string): string => name.toLowerCase().replace(/[-_]/g, '');

const providerWords: Readonly<Record<string, string>> = { c: 'libc', i: 'ICU', b: 'builtin' };

function localeWords(locale: Locale): string {
  const name =
    locale.locale ?? (locale.collate === locale.ctype ? locale.collate : `${locale.collate}, ctype ${locale.ctype}`);
  return `${providerWords[locale.provider] ?? locale.provider} ${name}${locale.version === null ? '' : ` (version ${locale.version})`}`;
}

export function judgeLocale(source: Locale, target: Locale): Verdict {
  const same =
    source.provider === target.provider &&
    spelled(source.collate) === spelled(target.collate) &&
    spelled(source.ctype) === spelled(target.ctype) &&
    spelled(source.locale ?? '') === spelled(target.locale ?? '');
  if (!same) {
    return warned(
      `Text sorts and compares by ${localeWords(source)} on the source, by ${localeWords(target)} on the target. Indexes are built anew and right, but ORDER BY, upper/lower, ranges of partitions by text and CHECKs on text order may answer differently.`,
      source.provider === 'i'
        ? `CREATE DATABASE … TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE ${quoteLiteral(source.locale ?? '')} LOCALE ${quoteLiteral(source.collate)};`
        : source.provider === 'b'
          ? `CREATE DATABASE … TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE ${quoteLiteral(source.locale ?? '')} LOCALE ${quoteLiteral(source.collate)};`
          : `CREATE DATABASE … TEMPLATE template0 LC_COLLATE ${quoteLiteral(source.collate)} LC_CTYPE ${quoteLiteral(source.ctype)};`,
    );
  }
  if (source.version !== null && target.version !== null && source.version !== target.version) {
    return informed(
      `Same locale, another version of its library: ${localeWords(source)} on the source, ${localeWords(target)} on the target. Indexes are built anew with the target's; a few texts may sort differently.`,
    );
  }
  return passed(`Both sort text by ${localeWords(target)}.`);
}

const readLocale = (database: Database): Promise<Locale> =>
  database.one<Locale & Record<string, unknown>>(LOCALE(database.version.major));

const locale: Check = {
  id: 'server.locale',
  severity: 'warns',
  title: 'Text sorts and compares the same on both sides.',
  needs: 'both',
  side: 'both',
  run: async (source, target) => judgeLocale(await readLocale(source), await readLocale(target)),
};

/** Parameters by which the same statement can answer, or store, something else. */
const RESULT_PARAMETERS = [
  'TimeZone',
  'DateStyle',
  'IntervalStyle',
  'array_nulls',
  'backslash_quote',
  'bytea_output',
  'default_table_access_method',
  'default_text_search_config',
  'default_toast_compression',
  'default_transaction_isolation',
  'extra_float_digits',
  'lc_monetary',
  'lc_numeric',
  'lc_time',
  'plpgsql.variable_conflict',
  'search_path',
  'session_replication_role',
  'standard_conforming_strings',
  'timezone_abbreviations',
  'transform_null_equals',
  'xmlbinary',
  'xmloption',
] as const;

export type Parameters = Readonly<Record<string, string>>;

/** One `name=value` of ALTER DATABASE … SET or ALTER ROLE … SET. */
export interface StoredSetting {
  /** Null: for every role of the database. */
  readonly role: string | null;
  /** False: the role's setting in every database of the cluster. */
  readonly inDatabase: boolean;
  readonly setting: string;
}

/** Parameters whose value is a list of identifiers, stored quoted already (GUC_LIST_QUOTE). */
const listParameters: ReadonlySet<string> = new Set([
  'search_path',
  'temp_tablespaces',
  'local_preload_libraries',
  'session_preload_libraries',
]);

function alterStatement(stored: StoredSetting, targetDatabase: string): string {
  const equals = stored.setting.indexOf('=');
  const name = stored.setting.slice(0, equals);
  const value = stored.setting.slice(equals + 1);
  const where = stored.inDatabase ? ` IN DATABASE ${quoteIdent(targetDatabase)}` : '';
  const whom =
    stored.role === null ? `DATABASE ${quoteIdent(targetDatabase)}` : `ROLE ${quoteIdent(stored.role)}${where}`;
  const parameter = name.split('.').map(quoteIdent).join('.');
  return `ALTER ${whom} SET ${parameter} TO ${listParameters.has(name) ? value || "''" : quoteLiteral(value)};`;
}

/** pg_dump carries settings of the database and of roles only with --create; what differs is told, with the statements. */
export function judgeSettings(input: {
  readonly source: Parameters;
  readonly target: Parameters;
  readonly stored: readonly StoredSetting[];
  readonly targetStored: readonly StoredSetting[];
  readonly targetDatabase: string;
}): Verdict {
  const differing = Object.keys(input.source)
    .filter((name) => name in input.target && input.source[name] !== input.target[name])
    .map(
      (name) => `${name} is "${input.source[name] ?? ''}" on the source, "${input.target[name] ?? ''}" on the target`,
    );
  const key = (s: StoredSetting): string => JSON.stringify([s.role, s.inDatabase, s.setting]);
  const there = new Set(input.targetStored.map(key));
  const missing = input.stored.filter((s) => !there.has(key(s)));
  if (differing.length === 0 && missing.length === 0) return passed('No parameter that changes results differs.');
  const parts: string[] = [];
  if (differing.length > 0) parts.push(`${listNames(differing)}.`);
  if (missing.length > 0) {
    parts.push(
      `${count(missing.length, 'setting')} of the database or its roles on the source ${missing.length === 1 ? 'is' : 'are'} not part of a copy.`,
    );
  }
  return informed(parts.join(' '), missing.map((s) => alterStatement(s, input.targetDatabase)).join('\n'));
}

/** reset_val is what new sessions get; our own session settled some of these for itself. */
const PARAMETERS = `SELECT name, reset_val AS value FROM pg_settings WHERE name = ANY ($1)`;

const STORED_SETTINGS = `
SELECT r.rolname AS role, s.setdatabase <> 0 AS "inDatabase", c AS setting
FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) c
WHERE (s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()))
   OR (s.setdatabase = 0 AND EXISTS (SELECT FROM pg_class k WHERE k.relowner = s.setrole AND k.oid >= 16384))
ORDER BY 1 NULLS FIRST, 3`;

async function readParameters(database: Database): Promise<Parameters> {
  const rows = await database.session.query<{ name: string; value: string | null }>(PARAMETERS, [
    [...RESULT_PARAMETERS],
  ]);
  return Object.fromEntries(rows.map((row) => [row.name, row.value ?? '']));
}

const readStored = (database: Database): Promise<StoredSetting[]> =>
  database.session.query<StoredSetting & Record<string, unknown>>(STORED_SETTINGS);

const settings: Check = {
  id: 'server.settings',
  severity: 'informs',
  title: 'Parameters that change results are the same; settings of the database and its roles are known.',
  needs: 'both',
  side: 'both',
  run: async (source, target) =>
    judgeSettings({
      source: await readParameters(source),
      target: await readParameters(target),
      stored: await readStored(source),
      targetStored: await readStored(target),
      targetDatabase: target.identity.database,
    }),
};

export interface Timeout {
  readonly name: string;
  /** ms, of a new session of this role. */
  readonly value: number;
}

/** Ends a connection whose answers are not acknowledged for so long; our sessions leave it as it is. */
const LINE_TIMEOUT = 'tcp_user_timeout';
const SHORT_LINE_MS = 30_000;

const timeoutWords = (t: Timeout): string => `${t.name} = ${t.value / 1000} s`;

/** Pure. `role`: whose sessions are meant, on which database. */
export function judgeTimeouts(timeouts: readonly Timeout[], at: { role: string; database: string }): Verdict {
  const set = timeouts.filter((t) => t.value > 0 && t.name !== LINE_TIMEOUT);
  const line = timeouts.find((t) => t.name === LINE_TIMEOUT && t.value > 0 && t.value < SHORT_LINE_MS);
  const ours = `${listNames(set.map(timeoutWords))}: our sessions set ${set.length === 1 ? 'it' : 'them'} to 0 for themselves, nothing has to be changed.`;
  if (line !== undefined)
    return warned(
      `${timeoutWords(line)}: the server ends a connection whose line stalls for that long.${set.length > 0 ? ` ${ours}` : ''}`,
      `ALTER ROLE ${quoteIdent(at.role)} IN DATABASE ${quoteIdent(at.database)} SET ${LINE_TIMEOUT} TO 0;`,
    );
  if (set.length > 0) return informed(ours);
  return passed('No timeout would end long work; our sessions keep idle lines alive themselves.');
}

const TIMEOUTS = `
SELECT name, reset_val::float8 AS value FROM pg_settings
WHERE unit = 'ms' AND name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout', '${LINE_TIMEOUT}')
ORDER BY name`;

const timeouts: Check = {
  id: 'server.timeouts',
  severity: 'warns',
  title: 'No timeout of the servers ends long work.',
  needs: 'each',
  run: async (database) => {
    const { role, database: name } = database.identity;
    const rows = await database.session.query<Timeout & Record<string, unknown>>(TIMEOUTS);
    return judgeTimeouts(rows, { role, database: name });
  },
};

export const serverChecks: readonly Check[] = [encoding, locale, collationVersions, settings, timeouts];
