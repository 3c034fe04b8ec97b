import type { Session } from '../postgres/session.ts';

export interface TargetColumn {
  readonly name: string;
  /** As format_type prints it, with its modifier. */
  readonly typeName: string;
  readonly typeOid: number;
  readonly typeModifier: number;
  /** Type name for a cast, quoted and without modifier, so that casting never shortens or pads a value. */
  readonly castTo: { readonly schema: string; readonly name: string };
  /**
   * Type of an array of the column's values. null where unnest would take the values themselves apart, which are arrays or
   * composites: those travel as text and are cast one by one.
   */
  readonly arrayType: { readonly schema: string; readonly name: string } | null;
  /** Between the elements of such an array. */
  readonly delimiter: string;
  /** Printed values hold nothing that an array literal would have to quote. */
  readonly plain: boolean;
  /** Values may be given as parts of one text, each read by the type's own input function. */
  readonly parts: boolean;
  /** The operator by which indexes of the type find equal values. */
  readonly equality: { readonly schema: string; readonly name: string };
  readonly notNull: boolean;
  readonly hasDefault: boolean;
  /** Computed by the server, stored or virtual: never written. */
  readonly generated: boolean;
  /** GENERATED … AS IDENTITY of either kind. */
  readonly identity: boolean;
  /** GENERATED ALWAYS AS IDENTITY: may be inserted, cannot be updated. */
  readonly identityAlways: boolean;
}

/** An index over plain columns of all rows. */
export interface TargetIndex {
  readonly columns: readonly string[];
  readonly primary: boolean;
  readonly unique: boolean;
  /** Not deferrable: never holds two equal rows, not even inside of a transaction. */
  readonly immediate: boolean;
}

/** A table of the target as its catalogue describes it. */
export interface TargetTable {
  readonly schema: string;
  readonly name: string;
  /** Rows live in partitions: ONLY would find none. */
  readonly partitioned: boolean;
  /** In table order, generated ones included. */
  readonly columns: readonly TargetColumn[];
  /** Primary key first, then unique ones. */
  readonly indexes: readonly TargetIndex[];
}

/**
 * Types whose printed values never hold a quote, backslash, brace, comma, and are never empty or the word null: bool, int2, int4,
 * int8, oid, float4, float8, numeric, date, time, timestamp, timestamptz, timetz, uuid, xid, pg_lsn, macaddr, inet, cidr, macaddr8.
 */
const PLAIN: ReadonlySet<number> = new Set([
  16, 21, 23, 20, 26, 700, 701, 1700, 1082, 1083, 1114, 1184, 1266, 2950, 28, 3220, 829, 869, 650, 774,
]);

/** Those, and bytea, text, json, varchar, interval, jsonb: a cast from text reads them as their input function does. */
const PARTS: ReadonlySet<number> = new Set([...PLAIN, 17, 25, 114, 1043, 1186, 3802]);

const COLUMNS = `
WITH RECURSIVE base (attnum, oid) AS (
  SELECT a.attnum, a.atttypid FROM pg_attribute a WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT b.attnum, t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'd'
)
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS "typeName", a.atttypid::text AS "typeOid",
  a.atttypmod AS "typeModifier", tn.nspname AS "typeSchema", t.typname AS type,
  sn.nspname AS "arraySchema", s.typname AS "arrayName",
  EXISTS (SELECT FROM pg_cast k WHERE k.castsource = 'text'::regtype AND k.casttarget = t.oid AND k.castmethod = 'f') AS "castByFunction",
  u.typtype = 'c' OR EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid) AS "comesApart",
  t.typdelim AS delimiter, u.oid::text AS base, e.nspname AS "equalitySchema", e.oprname AS equality,
  a.attnotnull AS "notNull", a.atthasdef AS "hasDefault", a.attgenerated <> '' AS generated, a.attidentity <> '' AS identity,
  a.attidentity = 'a' AS "identityAlways"
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_namespace tn ON tn.oid = t.typnamespace
JOIN base b ON b.attnum = a.attnum
JOIN pg_type u ON u.oid = b.oid AND u.typtype <> 'd'
LEFT JOIN pg_type s ON s.oid = t.typarray
LEFT JOIN pg_namespace sn ON sn.oid = s.typnamespace
LEFT JOIN LATERAL (
  SELECT p.oprname, pn.nspname FROM pg_opclass k JOIN pg_am m ON m.oid = k.opcmethod
  JOIN pg_amop o ON o.amopfamily = k.opcfamily AND o.amoplefttype = k.opcintype AND o.amoprighttype = k.opcintype AND o.amopstrategy = 3
  JOIN pg_operator p ON p.oid = o.amopopr JOIN pg_namespace pn ON pn.oid = p.oprnamespace
  WHERE m.amname = 'btree' AND k.opcdefault AND k.opcintype = u.oid LIMIT 1) e ON true
WHERE a.attrelid = $1::oid ORDER BY a.attnum`;

const INDEXES = `
SELECT i.indisprimary AS "primary", i.indisunique AS "unique", i.indimmediate AS immediate,
  (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, n)
   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.n <= i.indnkeyatts) AS columns
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
WHERE i.indrelid = $1::oid AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND m.amname = 'btree'
ORDER BY i.indisprimary DESC, i.indisunique DESC, x.relname`;

interface ColumnRow {
  readonly name: string;
  readonly typeName: string;
  readonly typeOid: string;
  readonly typeModifier: number;
  readonly typeSchema: string;
  readonly type: string;
  readonly arraySchema: string | null;
  readonly arrayName: string | null;
  readonly comesApart: boolean;
  /** Somebody made a cast from text of his own. */
  readonly castByFunction: boolean;
  readonly delimiter: string;
  readonly base: string;
  readonly equalitySchema: string | null;
  readonly equality: string | null;
  readonly notNull: boolean;
  readonly hasDefault: boolean;
  readonly generated: boolean;
  readonly identity: boolean;
  readonly identityAlways: boolean;
  readonly [column: string]: unknown;
}

function columnOf(row: ColumnRow): TargetColumn {
  const { arraySchema, arrayName, equalitySchema, equality } = row;
  const native = !row.comesApart && arraySchema !== null && arrayName !== null;
  return {
    name: row.name,
    typeName: row.typeName,
    typeOid: Number(row.typeOid),
    typeModifier: row.typeModifier,
    castTo: { schema: row.typeSchema, name: row.type },
    arrayType: native ? { schema: arraySchema, name: arrayName } : null,
    delimiter: native ? row.delimiter : ',',
    plain: native && PLAIN.has(Number(row.base)),
    parts: native && PARTS.has(Number(row.typeOid)) && !row.castByFunction,
    equality:
      equalitySchema === null || equality === null
        ? { schema: 'pg_catalog', name: '=' }
        : { schema: equalitySchema, name: equality },
    notNull: row.notNull,
    hasDefault: row.hasDefault,
    generated: row.generated,
    identity: row.identity,
    identityAlways: row.identityAlways,
  };
}

/** Reads a table from the target's catalogue; null when there is none of that name. */
export async function readTargetTable(target: Session, schema: string, name: string): Promise<TargetTable | null> {
  const [table] = await target.query<{ oid: string; kind: string }>(
    `SELECT c.oid::text AS oid, c.relkind AS kind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')`,
    [schema, name],
  );
  if (table === undefined) return null;
  const columns = await target.query<ColumnRow>(COLUMNS, [table.oid]);
  const indexes = await target.query<TargetIndex & Record<string, unknown>>(INDEXES, [table.oid]);
  return {
    schema,
    name,
    partitioned: table.kind === 'p',
    columns: columns.map(columnOf),
    indexes: indexes.map(({ columns: names, primary, unique, immediate }) => ({
      columns: names,
      primary,
      unique,
      immediate,
    })),
  };
}
