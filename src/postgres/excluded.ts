import { isExcludedExtension, readInstalled } from './extensions.ts';
import type { Session } from './session.ts';

/** A column that is left out, or keeps its place without its default. */
export interface ExcludedColumn {
  readonly name: string;
  /** As the server prints it. */
  readonly quoted: string;
}

/** What is left of one table. */
export interface ExcludedParts {
  readonly columns: readonly ExcludedColumn[];
  /** Columns whose default is left out, with its text as the server prints it. */
  readonly defaults: readonly (ExcludedColumn & { readonly expression: string })[];
  /** CHECK constraints, by their quoted names. */
  readonly checks: readonly string[];
}

/** What goes with extensions that are left out: exactly what DROP EXTENSION … CASCADE would take on that server. */
export interface Excluded {
  /** Their names, those that require them included. */
  readonly extensions: readonly string[];
  /** `class oid` + ` ` + `oid` of everything that goes whole, members of the extensions included. */
  readonly objects: ReadonlySet<string>;
  /** Tables that stay without some of their parts, by oid. */
  readonly parts: ReadonlyMap<number, ExcludedParts>;
  /** What depends on the extensions, each as a person would name it. */
  readonly names: readonly string[];
}

export const NOTHING_EXCLUDED: Excluded = { extensions: [], objects: new Set(), parts: new Map(), names: [] };

const PG_CLASS = 1259;

export function objectKey(classOid: number, oid: number): string {
  return `${classOid} ${oid}`;
}

/** True when the relation (table, sequence, view …) with this oid is left out whole. */
export function isExcludedRelation(excluded: Excluded, oid: number): boolean {
  return excluded.objects.has(objectKey(PG_CLASS, oid));
}

/** The columns that stay. */
export function keptColumns<T extends { readonly name: string }>(
  excluded: Excluded,
  oid: number,
  columns: readonly T[],
): readonly T[] {
  const gone = excluded.parts.get(oid)?.columns;
  if (gone === undefined || gone.length === 0) return columns;
  return columns.filter((column) => !gone.some(({ name }) => name === column.name));
}

/**
 * Follows pg_depend as the server's own DROP … CASCADE does (PostgreSQL documentation, 54.18 "pg_depend"): from the extension to
 * its members, to whatever depends on them, and from an internal part to the object it is a part of. Where the server would
 * only take an attribute of a composite type or a constraint of a domain, the type goes whole, and so does a view with a column.
 */
const GONE = `
WITH RECURSIVE gone(classid, objid, objsubid) AS (
  SELECT 'pg_extension'::regclass::oid, oid, 0 FROM pg_extension WHERE extname = ANY ($1)
  UNION
  SELECT n.classid, n.objid, n.objsubid FROM gone g, LATERAL (
    SELECT d.classid, d.objid, d.objsubid FROM pg_depend d
    WHERE d.refclassid = g.classid AND d.refobjid = g.objid AND (g.objsubid = 0 OR d.refobjsubid = g.objsubid)
      AND d.deptype IN ('n', 'a', 'i', 'e', 'x', 'P', 'S')
    UNION ALL
    SELECT d.refclassid, d.refobjid, d.refobjsubid FROM pg_depend d
    WHERE d.classid = g.classid AND d.objid = g.objid AND d.objsubid = g.objsubid AND d.deptype = 'i'
    UNION ALL
    SELECT 'pg_class'::regclass, a.attrelid, a.attnum FROM pg_attrdef k JOIN pg_attribute a ON a.attrelid = k.adrelid AND a.attnum = k.adnum
    WHERE g.classid = 'pg_attrdef'::regclass AND k.oid = g.objid AND a.attgenerated <> ''
    UNION ALL
    SELECT 'pg_type'::regclass, k.contypid, 0 FROM pg_constraint k
    WHERE g.classid = 'pg_constraint'::regclass AND k.oid = g.objid AND k.contypid <> 0
    UNION ALL
    SELECT 'pg_class'::regclass, c.oid, 0 FROM pg_class c
    WHERE g.classid = 'pg_class'::regclass AND g.objsubid <> 0 AND c.oid = g.objid AND c.relkind IN ('c', 'v', 'm')
  ) n
)`;

/** `about`: the relation that the object is a part of. */
const LISTED = `${GONE}
SELECT g.classid::int8::text AS class, g.objid::int8::text AS oid, g.objsubid AS sub, i.type, i.identity,
       EXISTS (SELECT FROM pg_depend d WHERE d.classid = g.classid AND d.objid = g.objid AND d.deptype = 'e') AS member,
       EXISTS (SELECT FROM pg_depend d WHERE d.classid = g.classid AND d.objid = g.objid AND d.objsubid = g.objsubid AND d.deptype = 'i') AS part,
       COALESCE(k.conrelid, ad.adrelid, t.tgrelid, p.polrelid, x.indrelid, CASE WHEN g.objsubid <> 0 THEN g.objid END, 0)::int8::text AS about,
       a.attname::text AS column, quote_ident(a.attname) AS quoted,
       CASE WHEN ad.oid IS NOT NULL THEN pg_get_expr(ad.adbin, ad.adrelid) END AS expression,
       CASE WHEN k.contype = 'c' THEN quote_ident(k.conname) END AS "check", c.relkind::text AS kind, e.extname::text AS extension
FROM gone g
LEFT JOIN pg_extension e ON g.classid = 'pg_extension'::regclass AND e.oid = g.objid
LEFT JOIN pg_class c ON g.classid = 'pg_class'::regclass AND c.oid = g.objid
LEFT JOIN pg_constraint k ON g.classid = 'pg_constraint'::regclass AND k.oid = g.objid
LEFT JOIN pg_attrdef ad ON g.classid = 'pg_attrdef'::regclass AND ad.oid = g.objid
LEFT JOIN pg_trigger t ON g.classid = 'pg_trigger'::regclass AND t.oid = g.objid
LEFT JOIN pg_policy p ON g.classid = 'pg_policy'::regclass AND p.oid = g.objid
LEFT JOIN pg_index x ON g.classid = 'pg_class'::regclass AND x.indexrelid = g.objid
LEFT JOIN pg_attribute a ON (a.attrelid = g.objid AND a.attnum = g.objsubid AND g.objsubid <> 0 AND g.classid = 'pg_class'::regclass)
  OR (a.attrelid = ad.adrelid AND a.attnum = ad.adnum)
CROSS JOIN LATERAL pg_identify_object(g.classid, g.objid, g.objsubid) i
ORDER BY i.type, i.identity`;

interface GoneRow {
  readonly class: string;
  readonly oid: string;
  readonly sub: number;
  readonly type: string | null;
  readonly identity: string | null;
  readonly member: boolean;
  readonly part: boolean;
  readonly about: string;
  readonly column: string | null;
  readonly quoted: string | null;
  readonly expression: string | null;
  readonly check: string | null;
  readonly kind: string | null;
  readonly extension: string | null;
  readonly [column: string]: unknown;
}

/** True for what comes and goes with another object that is named. */
function isSilent(row: GoneRow): boolean {
  return (
    row.member ||
    row.part ||
    row.kind === 't' ||
    row.type === 'rule' ||
    /amop|amproc|access method/.test(row.type ?? '')
  );
}

/** Puts the server's list into shape. Pure. */
export function sortExcluded(rows: readonly GoneRow[]): Excluded {
  const objects = new Set(rows.filter((row) => row.sub === 0).map((row) => `${row.class} ${row.oid}`));
  const extensions = rows.flatMap((row) => (row.extension === null ? [] : [row.extension]));
  const parts = new Map<
    number,
    { columns: ExcludedColumn[]; defaults: (ExcludedColumn & { expression: string })[]; checks: string[] }
  >();
  const names = new Set<string>();
  for (const row of rows) {
    const about = Number(row.about);
    // Whatever hangs on a table that goes is gone with it.
    const whole = about !== 0 && objects.has(objectKey(PG_CLASS, about));
    if (about !== 0 && !whole) {
      const part = parts.get(about) ?? { columns: [], defaults: [], checks: [] };
      parts.set(about, part);
      if (row.column !== null && row.quoted !== null) {
        const column = { name: row.column, quoted: row.quoted };
        if (row.sub !== 0) part.columns.push(column);
        else if (row.expression !== null) part.defaults.push({ ...column, expression: row.expression });
      }
      if (row.check !== null) part.checks.push(row.check);
    }
    if (row.extension === null && !whole && !isSilent(row) && row.identity !== null)
      names.add(`${row.type ?? 'object'} ${row.identity}`);
  }
  // The default of a column that goes is no loss of its own.
  for (const part of parts.values())
    part.defaults = part.defaults.filter(({ name }) => !part.columns.some((column) => column.name === name));
  return { extensions, objects, parts, names: [...names] };
}

/** What the globs leave out of the database, read under the session's snapshot. */
export async function readExcluded(session: Session, globs: readonly string[]): Promise<Excluded> {
  if (globs.length === 0) return NOTHING_EXCLUDED;
  const names = (await readInstalled(session))
    .map(({ name }) => name)
    .filter((name) => isExcludedExtension(globs, name));
  if (names.length === 0) return NOTHING_EXCLUDED;
  return sortExcluded(await session.query<GoneRow>(LISTED, [names]));
}
