import { setTimeout as sleep } from 'node:timers/promises';
import { PgsluiceError } from '../errors.ts';
import { tableDataMatches, tableMatches } from '../postgres/filters.ts';
import type { RelationFilter } from '../postgres/filters.ts';
import type { Session } from '../postgres/session.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';

export interface ColumnShape {
  readonly attnum: number;
  readonly name: string;
  /** As it stands in a statement: format_type(), qualified. */
  readonly type: string;
  /** pg_type.oid; another server numbers types of its own differently. */
  readonly typeOid: number;
  /** Quoted and qualified, where it is not the type's own. */
  readonly collation: string | null;
  readonly notNull: boolean;
  /** The default's or the generated column's expression. */
  readonly default: string | null;
  readonly identity: '' | 'a' | 'd';
  /** s stored, v virtual. */
  readonly generated: '' | 's' | 'v';
  /** What rows older than the column hold in it (pg_attribute.attmissingval), as text. */
  readonly missing: string | null;
  /** Comes from a parent; changed there only. */
  readonly inherited: boolean;
  /** xmin of its pg_attribute row: another one means that a command was about this column. */
  readonly version: string;
}

export interface ConstraintShape {
  readonly name: string;
  /** Primary key, unique, exclusion or check constraint, or a unique index without a constraint. */
  readonly kind: 'p' | 'u' | 'x' | 'c' | 'index';
  /** Of the constraint; of an index what follows its table's name. */
  readonly definition: string;
  /** attnum of the columns; 0 for an expression. */
  readonly columns: readonly number[];
  readonly inherited: boolean;
}

export interface TableShape {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** r ordinary, p partitioned. */
  readonly kind: 'r' | 'p';
  readonly unlogged: boolean;
  /** Its rows are part of the job and come by the stream. */
  readonly followed: boolean;
  /** pg_class.relfilenode: TRUNCATE and every command that rewrites the table change it. */
  readonly fileNode: string;
  readonly replicaIdentity: 'd' | 'n' | 'f' | 'i';
  /** The index of replica identity `i`. */
  readonly identityIndex: string | null;
  /** attnum of the replica identity's columns; empty when there is none or it is the whole row. */
  readonly identityColumns: readonly number[];
  readonly parents: readonly { readonly oid: number; readonly schema: string; readonly name: string }[];
  readonly bound: string | null;
  readonly partitionKey: string | null;
  readonly columns: readonly ColumnShape[];
  readonly constraints: readonly ConstraintShape[];
}

export interface EnumShape {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly labels: readonly string[];
}

/** What of a database's catalogue matters for following it. Plain JSON, so that it may be stored. */
export interface SourceShape {
  /** Equal: no table in it can have changed. */
  readonly fingerprint: string;
  /** Equal: nothing else that pg_dump writes can have changed. */
  readonly catalogue: string;
  readonly tables: readonly TableShape[];
  readonly enums: readonly EnumShape[];
}

export interface Fingerprints {
  readonly tables: string;
  readonly catalogue: string;
}

const USER_SCHEMA = `n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND n.nspname <> 'pgsluice_live'`;

/** One number for a set of row versions, whatever their order: cheaper than sorting them, and a changed row changes its xmin. */
const digest = (key: string): string =>
  `count(*) || ':' || coalesce(sum(hashtext(${key} || ':' || t.xmin)), 0) AS part`;

const ofRelations = (catalogue: string, relation: string, key: string, only = 'true'): string =>
  `SELECT ${digest(`'${catalogue}' || ${key}`)} FROM ${catalogue} t JOIN mine ON mine.oid = t.${relation} WHERE ${only}`;

const inSchemas = (catalogue: string, schema: string): string =>
  `SELECT ${digest(`'${catalogue}' || t.oid`)} FROM ${catalogue} t JOIN spaces ON spaces.oid = t.${schema}`;

const whole = (catalogue: string): string =>
  `SELECT ${digest(`'${catalogue}' || t.oid`)} FROM ${catalogue} t WHERE t.oid >= 16384`;

/**
 * Row versions of the catalogue, in two sums. Temporary objects play no part: they come and go. Statistics of VACUUM and
 * ANALYZE are written into pg_class in place and leave xmin as it is.
 */
const FINGERPRINTS = `
WITH spaces AS MATERIALIZED (SELECT n.oid FROM pg_namespace n WHERE ${USER_SCHEMA}),
mine AS MATERIALIZED (SELECT c.oid, c.relkind FROM pg_class c JOIN spaces ON spaces.oid = c.relnamespace)
SELECT
 (SELECT string_agg(part, ' ') FROM (
   ${ofRelations('pg_class', 'oid', 't.oid')}
   UNION ALL ${ofRelations('pg_attribute', 'attrelid', "t.attrelid || '.' || t.attnum", "t.attnum > 0 AND relkind IN ('r', 'p', 'c')")}
   UNION ALL ${ofRelations('pg_attrdef', 'adrelid', 't.oid')}
   UNION ALL ${ofRelations('pg_index', 'indrelid', 't.indexrelid')}
   UNION ALL ${ofRelations('pg_inherits', 'inhrelid', "t.inhrelid || '.' || t.inhparent")}
   UNION ALL ${inSchemas('pg_constraint', 'connamespace')}
   UNION ALL ${inSchemas('pg_namespace', 'oid')}
   UNION ALL ${whole('pg_enum')}
 ) tables) AS tables,
 (SELECT string_agg(part, ' ') FROM (
   ${inSchemas('pg_type', 'typnamespace')}
   UNION ALL ${inSchemas('pg_proc', 'pronamespace')}
   UNION ALL ${inSchemas('pg_statistic_ext', 'stxnamespace')}
   UNION ALL ${inSchemas('pg_operator', 'oprnamespace')}
   UNION ALL ${inSchemas('pg_collation', 'collnamespace')}
   UNION ALL ${ofRelations('pg_rewrite', 'ev_class', 't.oid')}
   UNION ALL ${ofRelations('pg_trigger', 'tgrelid', 't.oid')}
   UNION ALL ${ofRelations('pg_policy', 'polrelid', 't.oid')}
   UNION ALL ${['pg_extension', 'pg_event_trigger', 'pg_default_acl', 'pg_cast', 'pg_foreign_server'].map(whole).join(' UNION ALL ')}
   UNION ALL SELECT ${digest(`'publication' || t.oid`)} FROM pg_publication t WHERE t.pubname NOT LIKE 'pgsluice\\_%'
   UNION ALL SELECT ${digest(`'d' || t.classoid || '.' || t.objoid || '.' || t.objsubid`)} FROM pg_description t WHERE t.objoid >= 16384
 ) rest) AS catalogue`;

/** One row, no matter how large the catalogue; reads nothing else. */
export async function readFingerprints(session: Session): Promise<Fingerprints> {
  const [row] = await session.query<{ tables: string | null; catalogue: string | null }>(FINGERPRINTS);
  return { tables: row?.tables ?? '', catalogue: row?.catalogue ?? '' };
}

const TABLES = `
SELECT c.oid::int8 AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
  c.relpersistence = 'u' AS unlogged, c.relfilenode::text AS "fileNode", c.relreplident::text AS "replicaIdentity",
  identity.name AS "identityIndex", coalesce(identity.columns, '[]') AS "identityColumns",
  pg_get_expr(c.relpartbound, c.oid) AS bound,
  CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS "partitionKey",
  coalesce(parents.list, '[]') AS parents, coalesce(columns.list, '[]') AS columns, coalesce(constraints.list, '[]') AS constraints
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
  SELECT x.relname AS name, (SELECT json_agg(k ORDER BY at) FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u(k, at)
                             WHERE at <= i.indnkeyatts) AS columns
  FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
  WHERE i.indrelid = c.oid AND (c.relreplident = 'd' AND i.indisprimary AND i.indisvalid
                                OR c.relreplident = 'i' AND i.indisreplident)
  LIMIT 1
) identity ON true
LEFT JOIN LATERAL (
  SELECT json_agg(json_build_object('oid', p.oid::int8, 'schema', pn.nspname, 'name', p.relname) ORDER BY h.inhseqno) AS list
  FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace
  WHERE h.inhrelid = c.oid
) parents ON true
LEFT JOIN LATERAL (
  SELECT json_agg(json_build_object(
    'attnum', a.attnum, 'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'typeOid', a.atttypid::int8,
    'collation', CASE WHEN a.attcollation NOT IN (0, t.typcollation) THEN
        (SELECT quote_ident(ln.nspname) || '.' || quote_ident(l.collname) FROM pg_collation l
         JOIN pg_namespace ln ON ln.oid = l.collnamespace WHERE l.oid = a.attcollation) END,
    'notNull', a.attnotnull, 'default', pg_get_expr(d.adbin, d.adrelid), 'identity', a.attidentity, 'generated', a.attgenerated,
    'missing', CASE WHEN a.atthasmissing THEN (a.attmissingval::text::text[])[1] END,
    'inherited', a.attinhcount > 0, 'version', a.xmin::text) ORDER BY a.attnum) AS list
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
) columns ON true
LEFT JOIN LATERAL (
  SELECT json_agg(one ORDER BY name) AS list FROM (
    SELECT k.conname AS name, json_build_object('name', k.conname, 'kind', k.contype, 'definition', pg_get_constraintdef(k.oid),
             'columns', coalesce(to_json(k.conkey), '[]'), 'inherited', k.coninhcount > 0) AS one
    FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x', 'c')
    UNION ALL
    SELECT x.relname, json_build_object('name', x.relname, 'kind', 'index',
             'definition', substr(pg_get_indexdef(i.indexrelid), 1 + strpos(pg_get_indexdef(i.indexrelid),
                format('%I.%I USING ', n.nspname, c.relname)) + length(format('%I.%I', n.nspname, c.relname))),
             'columns', to_json(i.indkey::int2[]), 'inherited', EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid))
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
      AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x') AND k.conrelid = c.oid)
  ) all_of_them
) constraints ON true
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND ${USER_SCHEMA}
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
ORDER BY n.nspname, c.relname`;

const ENUMS = `
SELECT t.oid::int8 AS oid, n.nspname AS schema, t.typname AS name, json_agg(e.enumlabel ORDER BY e.enumsortorder) AS labels
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace JOIN pg_enum e ON e.enumtypid = t.oid
WHERE ${USER_SCHEMA} GROUP BY 1, 2, 3 ORDER BY 2, 3`;

type TableRow = Omit<TableShape, 'oid' | 'followed'> & { readonly oid: string; readonly [column: string]: unknown };
type EnumRow = Omit<EnumShape, 'oid'> & { readonly oid: string; readonly [column: string]: unknown };

/** The server prints definitions as of the present, its rows are read under a snapshot: DDL in between means reading again. */
const ATTEMPTS = 10;
const LONGER_EACH_TIME_MS = 20;

async function readOnce(session: Session, filter: RelationFilter): Promise<SourceShape> {
  const fingerprints = await readFingerprints(session);
  const tables = await session.query<TableRow>(TABLES);
  const enums = await session.query<EnumRow>(ENUMS);
  const inScope = tables.filter((row) => tableMatches(filter, row.schema, row.name));
  const oids = new Set(inScope.map((row) => Number(row.oid)));
  return {
    fingerprint: fingerprints.tables,
    catalogue: fingerprints.catalogue,
    tables: inScope.map((row) => {
      // A partition whose parent is left behind is a table of its own.
      const parents = row.parents.filter((parent) => oids.has(parent.oid));
      return {
        ...row,
        oid: Number(row.oid),
        followed: row.kind === 'r' && !row.unlogged && tableDataMatches(filter, row.schema, row.name),
        parents,
        bound: parents.length === 0 ? null : row.bound,
      };
    }),
    enums: enums.map((row) => ({ ...row, oid: Number(row.oid) })),
  };
}

/**
 * Reads the tables that the job is about, and the enumerations. Works for the target as well.
 * @throws PgsluiceError SOURCE_SCHEMA_CHANGES when DDL commits during each of several attempts.
 */
export async function readShape(session: Session, filter: RelationFilter): Promise<SourceShape> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    try {
      const shape = await readOnce(session, filter);
      const after = await readFingerprints(session);
      if (after.tables === shape.fingerprint && after.catalogue === shape.catalogue) return shape;
    } catch (error) {
      // "cache lookup failed" for what was dropped between two statements is an internal error to the server.
      if (sqlStateOf(error) !== SQLSTATE.internalError) throw error;
    }
    await sleep(LONGER_EACH_TIME_MS * attempt);
  }
  throw new PgsluiceError({
    code: 'SOURCE_SCHEMA_CHANGES',
    message: `The ${session.side}'s schema changed during each of ${ATTEMPTS} attempts to read it.`,
    hint: 'It is read again while the job runs. Should this stay, stop what runs DDL there.',
    retryable: true,
  });
}
