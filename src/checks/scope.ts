import type { JobOptions } from '../contract/options.ts';
import { largeObjectsMatch, schemaMatches, tableDataMatches, tableMatches } from '../postgres/filters.ts';

/** Where an object stands: `schema` is null for objects that belong to no schema (languages, publications, casts …). */
export interface Placed {
  readonly schema: string | null;
  readonly name: string;
  /** True for what pg_class holds: tables, views, sequences … */
  readonly relation: boolean;
}

/** True when schema or table globs pick out part of the database: pg_dump then leaves schemaless objects out. */
export function picksOut(options: JobOptions): boolean {
  return options.includeSchema.length > 0 || options.includeTable.length > 0;
}

/** True when the job moves the object's definition. */
export function inScope(options: JobOptions, object: Placed): boolean {
  if (object.schema === null) return !picksOut(options);
  if (object.relation) return tableMatches(options, object.schema, object.name);
  return options.includeTable.length === 0 && schemaMatches(options, object.schema);
}

/** True when the job moves the rows of the table (or the value of the sequence). */
export function dataInScope(options: JobOptions, schema: string, name: string): boolean {
  return !options.schemaOnly && tableDataMatches(options, schema, name);
}

/** Large objects belong to no schema: they move unless schemas or tables are picked out. */
export function largeObjectsInScope(options: JobOptions): boolean {
  return !options.schemaOnly && largeObjectsMatch(options);
}
