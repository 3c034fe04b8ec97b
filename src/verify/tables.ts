import { qualified } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import type { RoutingRoot } from '../postgres/unstable-partitions.ts';
import { tableDataMatches } from '../postgres/filters.ts';
import type { RelationFilter } from '../postgres/filters.ts';
import type { ColumnFacts } from './checksum.ts';

/** A relation whose rows are compared. */
export interface ComparedRelation {
  readonly kind: 'table' | 'materialized view';
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly columns: readonly ColumnFacts[];
  /** Primary key in key order; empty without one. */
  readonly key: readonly string[];
  /** Main and TOAST forks in bytes on the source. */
  readonly sizeBytes: number;
  /** `WHERE …` of an extension's configuration table; '' for all rows. */
  readonly condition: string;
  /** True: the rows of the whole partition tree; false: the relation's own rows, its partitions and children apart. */
  readonly tree: boolean;
}

/** Relations of one server as far as verification needs them. */
export interface RelationFacts extends ComparedRelation {
  /** pg_class.relkind: r, p, m, f. */
  readonly relkind: string;
  readonly populated: boolean;
  readonly accessMethod: string | null;
}

interface RelationRow {
  oid: string;
  schema: string;
  name: string;
  relkind: string;
  populated: boolean;
  method: string | null;
  size: string;
  condition: string | null;
  columns: ColumnFacts[] | null;
  key: string[] | null;
}

/** Tables, partitioned ones, materialized views and foreign tables outside of extensions, and the extensions' configuration tables. */
const RELATIONS = `
WITH RECURSIVE stored(oid, base) AS (
  SELECT t.oid, t.oid FROM pg_type t WHERE t.typtype <> 'd'
  UNION ALL
  SELECT d.oid, s.base FROM pg_type d JOIN stored s ON d.typbasetype = s.oid WHERE d.typtype = 'd'
), member AS (
  SELECT objid AS oid FROM pg_depend WHERE classid = 'pg_class'::regclass AND deptype = 'e'
), configuration AS (
  SELECT c.oid, c.condition
  FROM pg_extension e, LATERAL unnest(e.extconfig, e.extcondition) AS c(oid, condition)
), listed AS (
  -- For all relations at once: asked for by each, the types would be searched as often.
  SELECT a.attrelid AS oid, json_agg(json_build_object('name', a.attname, 'type', t.typname, 'kind', t.typtype,
           'builtIn', t.oid < 10000 AND t.typnamespace = 'pg_catalog'::regnamespace) ORDER BY a.attnum) AS columns
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'm', 'f')
  JOIN stored s ON s.oid = a.atttypid JOIN pg_type t ON t.oid = s.base
  WHERE a.attnum > 0 AND NOT a.attisdropped
  GROUP BY a.attrelid
), keyed AS (
  SELECT i.indrelid AS oid, json_agg(a.attname ORDER BY k.position) AS key
  FROM pg_index i, LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position), pg_attribute a
  WHERE i.indisprimary AND a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.position <= i.indnkeyatts
  GROUP BY i.indrelid
)
SELECT c.oid::text AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS relkind,
       c.relispopulated AS populated, am.amname AS method, g.condition,
       CASE WHEN c.relkind IN ('f', 'p') THEN '0' ELSE (pg_relation_size(c.oid)
         + CASE WHEN c.reltoastrelid = 0 THEN 0 ELSE pg_relation_size(c.reltoastrelid) END)::text END AS size,
       l.columns, k.key
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_am am ON am.oid = c.relam
LEFT JOIN member m ON m.oid = c.oid
LEFT JOIN configuration g ON g.oid = c.oid
LEFT JOIN listed l ON l.oid = c.oid
LEFT JOIN keyed k ON k.oid = c.oid
WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't'
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
  AND (m.oid IS NULL OR g.oid IS NOT NULL)
ORDER BY n.nspname, c.relname`;

export async function listRelations(session: Session): Promise<RelationFacts[]> {
  const rows = await session.query<RelationRow & { [column: string]: unknown }>(RELATIONS);
  return rows.map((row) => ({
    kind: row.relkind === 'm' ? 'materialized view' : 'table',
    oid: Number(row.oid),
    schema: row.schema,
    name: row.name,
    relkind: row.relkind,
    populated: row.populated,
    accessMethod: row.method,
    sizeBytes: Number(row.size),
    columns: row.columns ?? [],
    key: row.key ?? [],
    condition: row.condition ?? '',
    tree: false,
  }));
}

export function relationKey(relation: { readonly schema: string; readonly name: string }): string {
  return JSON.stringify([relation.schema, relation.name]);
}

function readablePart(text: string): string {
  return /^[a-z_][a-z0-9_$]*$/.test(text) ? text : `"${text.replaceAll('"', '""')}"`;
}

/** What a person would write: quoted only where the parts need it. */
export function readableName(schema: string | null, name: string): string {
  return schema === null ? readablePart(name) : `${readablePart(schema)}.${readablePart(name)}`;
}

/** FROM item that reads the relation's own rows; partitions and children are relations of their own, unless `tree` says not. */
export function ownRows(relation: Pick<ComparedRelation, 'schema' | 'name' | 'tree'>): string {
  return `${relation.tree ? '' : 'ONLY '}${qualified(relation.schema, relation.name)}`;
}

export interface Scope {
  /** Largest first, so that no large one starts when the others have ended. */
  readonly compared: ComparedRelation[];
  /** Sentences about relations in scope whose rows are not compared by design. */
  readonly left: string[];
  /** Sentences about relations whose rows should be compared and cannot be. */
  readonly unable: string[];
}

export interface ScopeInput {
  /** Relations that the job is about. */
  readonly inScope: readonly RelationFacts[];
  readonly filter: RelationFilter;
  readonly schemaOnly: boolean;
  /** Partition oid → the table by which the target routes its rows anew (unstable-partitions.ts). */
  readonly unstable: ReadonlyMap<number, RoutingRoot>;
}

function namesOf(found: readonly RelationFacts[]): string {
  return found.map((relation) => readableName(relation.schema, relation.name)).join(', ');
}

/** Decides whose rows are compared. Pure. */
export function chooseRelations({ inScope, filter, schemaOnly, unstable }: ScopeInput): Scope {
  if (schemaOnly) {
    const sentence = 'Rows, sequence values and large objects: the job moves the schema only.';
    return { compared: [], left: [sentence], unable: [] };
  }
  const left: string[] = [];
  const foreign = inScope.filter((relation) => relation.relkind === 'f');
  if (foreign.length > 0)
    left.push(`Rows of foreign tables stand on other servers and were not read: ${namesOf(foreign)}.`);
  const tables = inScope.filter((relation) => relation.relkind === 'r');
  const chosen = tables.filter((relation) => tableDataMatches(filter, relation.schema, relation.name));
  const excluded = tables.filter((relation) => !chosen.includes(relation));
  if (excluded.length > 0) left.push(`Rows excluded by --exclude-table-data: ${namesOf(excluded)}.`);
  const views = inScope.filter((relation) => relation.relkind === 'm' && relation.populated);
  // Without the rows they are made from, their contents cannot be equal.
  const viewsComparable = filter.excludeTableData.length === 0;
  if (!viewsComparable && views.length > 0) {
    left.push(`Contents of materialized views, since --exclude-table-data leaves rows behind: ${namesOf(views)}.`);
  }
  const { trees, unable } = routedTrees(inScope, chosen, unstable);
  const compared = [
    ...chosen.filter((relation) => !unstable.has(relation.oid)),
    ...trees,
    ...(viewsComparable ? views : []),
  ];
  return { compared: compared.toSorted((a, b) => b.sizeBytes - a.sizeBytes), left, unable };
}

/** Partitions between which the target routes rows anew hold other rows there; only their tree as a whole is equal. */
function routedTrees(
  inScope: readonly RelationFacts[],
  chosen: readonly RelationFacts[],
  unstable: ReadonlyMap<number, RoutingRoot>,
): { trees: ComparedRelation[]; unable: string[] } {
  const leaves = new Map<number, RelationFacts[]>();
  for (const leaf of chosen) {
    const root = unstable.get(leaf.oid);
    if (root !== undefined) leaves.set(root.oid, [...(leaves.get(root.oid) ?? []), leaf]);
  }
  const trees: ComparedRelation[] = [];
  const unable: string[] = [];
  for (const [oid, members] of leaves) {
    const root = inScope.find((relation) => relation.oid === oid);
    const all = [...unstable].filter(([leaf, of]) => of.oid === oid && !isPartitioned(inScope, leaf)).length;
    if (root === undefined || members.length < all) {
      unable.push(
        `${namesOf(members)}: the target routes these rows to its own choice of partitions, so they can only be compared where the whole partitioned table is moved.`,
      );
      continue;
    }
    const sizeBytes = members.reduce((sum, member) => sum + member.sizeBytes, 0);
    trees.push({ ...root, sizeBytes, tree: true });
  }
  return { trees, unable };
}

function isPartitioned(inScope: readonly RelationFacts[], oid: number): boolean {
  return inScope.some((relation) => relation.oid === oid && relation.relkind === 'p');
}
