import { qualified, quoteIdent } from '../postgres/quote.ts';
import type { CatalogObject } from './catalog.ts';

/** `TABLE "a"."b"`, `SCHEMA "a"`, `CAST x AS y`, as a person would write it. */
export function objectName(object: CatalogObject): string {
  if (object.kind === 'FUNCTION')
    return `FUNCTION ${object.schema === null ? '' : `${quoteIdent(object.schema)}.`}${object.name}`;
  if (object.kind === 'CAST' || object.kind === 'TRANSFORM') return `${object.kind} ${object.name}`;
  if (object.schema === null || object.kind === 'SCHEMA') return `${object.kind} ${quoteIdent(object.name)}`;
  return `${object.kind} ${qualified(object.schema, object.name)}`;
}
