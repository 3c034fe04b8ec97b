/** Which relations a job is about. Every list holds globs with `*` and `?`, matched case-sensitively against whole names. */
export interface RelationFilter {
  readonly includeSchema: readonly string[];
  readonly excludeSchema: readonly string[];
  readonly includeTable: readonly string[];
  readonly excludeTable: readonly string[];
  readonly excludeTableData: readonly string[];
}

/** Turns one glob into an anchored expression; everything but `*` and `?` stands for itself. */
function globExpression(glob: string): RegExp {
  const body = glob
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*/g, '.*')
    .replace(/\?/g, '.');
  return new RegExp(`^${body}$`, 'su');
}

/** True when one of the globs matches the whole name. */
export function matchesAny(globs: readonly string[], name: string): boolean {
  return globs.some((glob) => globExpression(glob).test(name));
}

/** A table glob is `schema.table`, or `table` for every schema. The first dot separates, as in pg_dump. */
export function splitTableGlob(glob: string): { schema: string | null; table: string } {
  const dot = glob.indexOf('.');
  return dot < 0 ? { schema: null, table: glob } : { schema: glob.slice(0, dot), table: glob.slice(dot + 1) };
}

function matchesTable(globs: readonly string[], schema: string, table: string): boolean {
  return globs.some((glob) => {
    const parts = splitTableGlob(glob);
    if (parts.schema !== null && !globExpression(parts.schema).test(schema)) return false;
    return globExpression(parts.table).test(table);
  });
}

/** True when objects of `schema` may be part of the job. */
export function schemaMatches(filter: RelationFilter, schema: string): boolean {
  if (matchesAny(filter.excludeSchema, schema)) return false;
  return filter.includeSchema.length === 0 || matchesAny(filter.includeSchema, schema);
}

/** True when the relation (table, view, sequence, …) is part of the job. As in pg_dump, table globs replace schema globs. */
export function tableMatches(filter: RelationFilter, schema: string, table: string): boolean {
  if (matchesTable(filter.excludeTable, schema, table)) return false;
  if (matchesAny(filter.excludeSchema, schema)) return false;
  if (filter.includeTable.length > 0) return matchesTable(filter.includeTable, schema, table);
  return schemaMatches(filter, schema);
}

/** True when the table's rows are copied and verified. */
export function tableDataMatches(filter: RelationFilter, schema: string, table: string): boolean {
  return tableMatches(filter, schema, table) && !matchesTable(filter.excludeTableData, schema, table);
}

/** True when large objects, which belong to no schema, are part of the job: as in pg_dump, unless schemas or tables are picked out. */
export function largeObjectsMatch(filter: RelationFilter): boolean {
  return filter.includeSchema.length === 0 && filter.includeTable.length === 0;
}

/**
 * A glob as a pg_dump pattern. Literal runs are double-quoted, so that case and special characters stand for themselves;
 * `*` and `?` stay outside the quotes (PostgreSQL documentation, psql, "Patterns").
 */
function dumpPattern(glob: string): string {
  return glob
    .split(/([*?])/)
    .filter((part) => part !== '')
    .map((part) => (part === '*' || part === '?' ? part : `"${part.replaceAll('"', '""')}"`))
    .join('');
}

/** pg_dump's globs reach these as well; its own default of leaving them out ends with the first glob that includes. */
const SYSTEM_SCHEMAS = ['"pg_"*', '"information_schema"'];

function tablePattern(glob: string): string {
  const parts = splitTableGlob(glob);
  return `${parts.schema === null ? '*' : dumpPattern(parts.schema)}.${dumpPattern(parts.table)}`;
}

/** The same for rows, which matter only where pg_dump writes data. */
export function dumpDataArguments(filter: Pick<RelationFilter, 'excludeTableData'>): string[] {
  return filter.excludeTableData.map((glob) => `--exclude-table-data=${tablePattern(glob)}`);
}

/**
 * The arguments that make pg_dump see the same relations as `tableMatches`. Beside `--table` pg_dump pays no heed to schemas
 * (PostgreSQL documentation, pg_dump), so that a schema is left out there by its tables.
 */
export function dumpFilterArguments(filter: RelationFilter): string[] {
  const left = filter.excludeSchema.map(dumpPattern);
  return [
    ...filter.includeSchema.map((glob) => `--schema=${dumpPattern(glob)}`),
    ...[...left, ...(filter.includeSchema.length > 0 ? SYSTEM_SCHEMAS : [])].map((of) => `--exclude-schema=${of}`),
    ...filter.includeTable.map((glob) => `--table=${tablePattern(glob)}`),
    ...filter.excludeTable.map((glob) => `--exclude-table=${tablePattern(glob)}`),
    ...(filter.includeTable.length > 0 ? [...left, ...SYSTEM_SCHEMAS].map((of) => `--exclude-table=${of}.*`) : []),
  ];
}
