import { FIRST_USER_OID, userSchema } from './catalog.ts';
import { failed, informed, passed, skipped } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { qualified, quoteIdent } from '../postgres/quote.ts';
import { inScope } from './scope.ts';
import { NAMED, count } from './words.ts';

/** Something of the source that servers before a major do not know. */
export interface NewerObject {
  /** Which feature, in words that follow the object's name: `column … is generated and virtual`. */
  readonly what: string;
  /** The major that brought it. */
  readonly since: number;
  readonly schema: string | null;
  readonly name: string;
  /** Part of it, for instance a column; empty for the whole. */
  readonly part: string;
  /** True for what pg_class holds. */
  readonly relation: boolean;
}

interface Feature {
  readonly since: number;
  readonly what: string;
  readonly relation: boolean;
  /** Answers schema, name, part. */
  readonly sql: string;
}

const columnsWhere = (condition: string): string => `
  SELECT n.nspname, c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f', 'm', 'c') AND (${condition}) AND ${userSchema('n')}`;

const constraintsWhere = (condition: string): string => `
  SELECT n.nspname, c.relname, k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE k.conparentid = 0 AND (${condition}) AND ${userSchema('n')}`;

const indexesWhere = (condition: string): string => `
  SELECT n.nspname, c.relname, x.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE (${condition}) AND NOT x.relispartition AND ${userSchema('n')}`;

const functionsWhere = (condition: string): string => `
  SELECT n.nspname, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', '' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE p.oid >= ${FIRST_USER_OID} AND (${condition}) AND ${userSchema('n')}`;

const publicationsWhere = (condition: string): string =>
  `SELECT NULL, p.pubname, '' FROM pg_publication p WHERE ${condition}`;

/**
 * What the release notes of each major added to definitions, as far as the catalogue shows it (PostgreSQL documentation,
 * appendix E "Release Notes"). Bodies of functions and views may use newer syntax that only the target itself can judge.
 */
const features: readonly Feature[] = [
  { since: 11, what: 'is a procedure', relation: false, sql: functionsWhere(`p.prokind = 'p'`) },
  { since: 11, what: 'is an index with INCLUDE', relation: true, sql: indexesWhere(`i.indnkeyatts < i.indnatts`) },
  { since: 11, what: 'is an index of a partitioned table', relation: true, sql: indexesWhere(`x.relkind = 'I'`) },
  { since: 12, what: 'is a generated column', relation: true, sql: columnsWhere(`a.attgenerated = 's'`) },
  {
    since: 12,
    what: 'is a nondeterministic collation',
    relation: false,
    sql: `SELECT n.nspname, c.collname, '' FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
  WHERE NOT c.collisdeterministic AND c.oid >= ${FIRST_USER_OID} AND ${userSchema('n')}`,
  },
  { since: 13, what: 'publishes by its partition root', relation: false, sql: publicationsWhere('p.pubviaroot') },
  {
    since: 14,
    what: 'is of a multirange type',
    relation: true,
    sql: columnsWhere(`EXISTS (SELECT FROM pg_type t WHERE t.oid = a.atttypid AND t.typtype = 'm')`),
  },
  { since: 14, what: 'has an SQL body', relation: false, sql: functionsWhere('p.prosqlbody IS NOT NULL') },
  { since: 14, what: 'has a compression of its own', relation: true, sql: columnsWhere(`a.attcompression <> ''`) },
  {
    since: 14,
    what: 'is statistics on expressions',
    relation: false,
    sql: `SELECT n.nspname, s.stxname, '' FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
  WHERE s.stxexprs IS NOT NULL AND ${userSchema('n')}`,
  },
  { since: 15, what: 'is UNIQUE NULLS NOT DISTINCT', relation: true, sql: indexesWhere('i.indnullsnotdistinct') },
  {
    since: 15,
    what: 'is a view with security_invoker',
    relation: true,
    sql: `SELECT n.nspname, c.relname, '' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'v' AND c.reloptions::text LIKE '%security_invoker=%' AND ${userSchema('n')}`,
  },
  {
    since: 15,
    what: 'sets single columns ON DELETE',
    relation: true,
    sql: constraintsWhere(`k.confdelsetcols IS NOT NULL`),
  },
  {
    since: 15,
    what: 'publishes schemas, columns or rows that match',
    relation: false,
    sql: publicationsWhere(`EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid)
    OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND (r.prqual IS NOT NULL OR r.prattrs IS NOT NULL))`),
  },
  {
    since: 16,
    what: 'is a collation with rules',
    relation: false,
    sql: `SELECT n.nspname, c.collname, '' FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
  WHERE c.collicurules IS NOT NULL AND c.oid >= ${FIRST_USER_OID} AND ${userSchema('n')}`,
  },
  {
    since: 17,
    what: 'uses a collation of the builtin provider',
    relation: true,
    sql: columnsWhere(`EXISTS (SELECT FROM pg_collation l WHERE l.oid = a.attcollation AND l.collprovider = 'b'
    AND l.collname NOT IN ('ucs_basic'))`),
  },
  {
    since: 17,
    what: 'grants MAINTAIN (--no-acl leaves grants out)',
    relation: true,
    sql: `SELECT n.nspname, c.relname, '' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relacl IS NOT NULL AND ${userSchema('n')} AND EXISTS (SELECT FROM aclexplode(c.relacl) g
    WHERE g.privilege_type = 'MAINTAIN' AND g.grantee <> c.relowner)
    AND EXISTS (SELECT FROM aclexplode(c.relacl) g WHERE g.grantee <> c.relowner GROUP BY g.grantee
      HAVING bool_or(g.privilege_type = 'MAINTAIN') AND count(*) < 8)`,
  },
  {
    since: 17,
    what: 'is an identity column of a partitioned table',
    relation: true,
    sql: columnsWhere(`a.attidentity <> '' AND c.relkind = 'p'`),
  },
  {
    since: 17,
    what: 'is an exclusion constraint of a partitioned table',
    relation: true,
    sql: constraintsWhere(`k.contype = 'x' AND c.relkind = 'p'`),
  },
  { since: 18, what: 'is generated and virtual', relation: true, sql: columnsWhere(`a.attgenerated = 'v'`) },
  { since: 18, what: 'is NOT ENFORCED', relation: true, sql: constraintsWhere('NOT k.conenforced') },
  { since: 18, what: 'is a key WITHOUT OVERLAPS or PERIOD', relation: true, sql: constraintsWhere('k.conperiod') },
  {
    since: 18,
    what: 'is NOT NULL and NOT VALID',
    relation: true,
    sql: constraintsWhere(`k.contype = 'n' AND NOT k.convalidated`),
  },
];

/** One statement for all features that lie between the two majors; null when there are none. Pure. */
export function newerObjectsSql(source: number, target: number, noAcl: boolean): string | null {
  const between = features.filter(
    (f) => f.since > target && f.since <= source && !(noAcl && f.what.startsWith('grants ')),
  );
  if (between.length === 0) return null;
  return between
    .map(
      (f) =>
        `SELECT ${f.since} AS since, '${f.what}' AS what, ${String(f.relation)} AS relation, x.schema::text, x.name::text, x.part::text
FROM (${f.sql}) AS x (schema, name, part)`,
    )
    .join('\nUNION ALL\n');
}

const words = (o: NewerObject): string => {
  const name =
    o.schema === null
      ? quoteIdent(o.name)
      : o.relation
        ? qualified(o.schema, o.name)
        : `${quoteIdent(o.schema)}.${o.name}`;
  return `${name}${o.part === '' ? '' : `: ${quoteIdent(o.part)}`} ${o.what} (PostgreSQL ${o.since})`;
};

/** Pure. */
export function judgeDowngrade(source: number, target: number, newer: readonly NewerObject[]): Verdict {
  if (newer.length === 0)
    return informed(
      `Nothing that the catalogue of PostgreSQL ${source} shows is unknown to PostgreSQL ${target}. Bodies of functions and views are not read: where one uses newer syntax, the target refuses it, and the job names it and fails.${source >= 17 && target < 17 ? ' GRANT ALL does not hold MAINTAIN there.' : ''}${source >= 18 && target < 18 ? ' Names of NOT NULL constraints are not kept.' : ''}`,
    );
  return failed(
    'DOWNGRADE_REFUSED',
    `PostgreSQL ${target} does not know ${count(newer.length, 'thing')} that the source uses: ${newer.slice(0, NAMED).map(words).join('; ')}${newer.length > NAMED ? ` and ${newer.length - NAMED} more` : ''}.`,
    'Change them on the source, leave their tables or schemas out (--exclude-table, --exclude-schema), or take a target of a newer major.',
  );
}

export const downgradeCheck: Check = {
  id: 'version.downgrade',
  severity: 'blocks',
  title: 'An older target knows everything that the source uses.',
  needs: 'both',
  side: 'both',
  run: async (source, target, { options }) => {
    const [from, to] = [source.version.major, target.version.major];
    if (to >= from) return passed('The target is not older than the source.');
    if (!options.allowDowngrade) return skipped('The job is not allowed to go to an older major (--allow-downgrade).');
    if (options.dataOnly) return skipped('The job moves data only: no definition is restored.');
    const sql = newerObjectsSql(from, to, options.noAcl);
    const rows = sql === null ? [] : await source.session.query<NewerObject & Record<string, unknown>>(sql);
    return judgeDowngrade(
      from,
      to,
      rows.filter((row) => inScope(options, row)),
    );
  },
};
