/** The stored type of a column, domains already followed to what they are made of. */
export interface ColumnType {
  readonly name: string;
  /** pg_type.typtype: b base, c composite, e enum, m multirange, p pseudo, r range. */
  readonly kind: string;
  /** A type of pg_catalog with an oid fixed by PostgreSQL, equal on every server. */
  readonly builtIn: boolean;
}

export type CopyFormat = 'binary' | 'text';

/**
 * Built-in types whose binary form is no copy of the value: the reg* types send the oid of an object, which is another one on
 * the target; aclitem, pg_node_tree and their like have no input function for binary.
 */
const textOnly = new Set([
  'regproc',
  'regprocedure',
  'regoper',
  'regoperator',
  'regclass',
  'regtype',
  'regrole',
  'regnamespace',
  'regconfig',
  'regdictionary',
  'regcollation',
  'regdatabase',
  'aclitem',
  'gtsvector',
  'pg_node_tree',
  'pg_ndistinct',
  'pg_dependencies',
  'pg_mcv_list',
  'pg_brin_bloom_summary',
  'pg_brin_minmax_multi_summary',
  'refcursor',
]);

/**
 * Binary where every column's value means the same on both servers: built-in types and enums (sent as their label). Arrays,
 * ranges and composites of user types carry oids of the source, and an extension's binary form may change with its version:
 * these go as text. (PostgreSQL documentation, COPY, "File Formats".)
 */
export function chooseFormat(columns: readonly { readonly type: ColumnType }[]): CopyFormat {
  // A table without columns has no binary header to gain from.
  if (columns.length === 0) return 'text';
  const safe = columns.every(({ type }) => {
    if (type.kind === 'e') return true;
    if (!type.builtIn || !['b', 'r', 'm'].includes(type.kind)) return false;
    return !textOnly.has(type.name.replace(/^_/, ''));
  });
  return safe ? 'binary' : 'text';
}
