import {
  PG_CLASS,
  PG_ATTRDEF,
  PG_CONSTRAINT,
  PG_POLICY,
  PG_PROC,
  PG_STATISTIC_EXT,
  PG_REWRITE,
  PG_TRIGGER,
  PG_TYPE,
} from './catalogue-oids.ts';

/** The relation (or routine) a fragment belongs to, with its name quoted as the server does: only where it must be. */
export interface FragmentRelation {
  readonly name: string;
  readonly quoted: string;
  readonly quotedSchema: string;
  /** pg_class.relkind. */
  readonly kind: string;
}

/** A part of an entry's text that the server prints from a parsed expression or query. */
export interface Fragment {
  readonly kind:
    | 'view'
    | 'check'
    | 'domain check'
    | 'default'
    | 'generated'
    | 'index'
    | 'policy'
    | 'trigger'
    | 'rule'
    | 'body'
    | 'arguments'
    | 'partition key'
    | 'statistics';
  /** Tells the fragments of one entry apart: a constraint's or a column's name. */
  readonly label: string;
  /** Exactly as pg_dump prints it. */
  readonly text: string;
  /** The relation in whose columns it speaks. */
  readonly relation: FragmentRelation | null;
  /** Type of a default's, generated column's or domain's value, or a routine's whole definition. */
  readonly detail: string;
}

export interface FragmentRow {
  /** oid of the object that was asked for. */
  readonly of: string;
  readonly kind: Fragment['kind'];
  readonly label: string;
  readonly text: string | null;
  readonly quoted_schema: string | null;
  readonly relation: string | null;
  readonly quoted: string | null;
  readonly relkind: string | null;
  readonly detail: string | null;
  readonly [column: string]: unknown;
}

const relationColumns = `quote_ident(n.nspname) AS quoted_schema, c.relname AS relation,
  quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS quoted, c.relkind::text AS relkind`;
const joinRelation = (oid: string): string =>
  `JOIN pg_class c ON c.oid = ${oid} JOIN pg_namespace n ON n.oid = c.relnamespace`;
const noRelation = `NULL AS quoted_schema, NULL AS relation, NULL AS quoted, NULL AS relkind`;

/** `oid`: the oid by which the fragments are asked for. */
const defaults = (oid: string): string => `
SELECT ${oid}::int8::text AS of, CASE WHEN a.attgenerated = '' THEN 'default' ELSE 'generated' END AS kind, a.attname::text AS label,
       pg_get_expr(d.adbin, d.adrelid) AS text, ${relationColumns}, format_type(a.atttypid, a.atttypmod) AS detail
FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum ${joinRelation('d.adrelid')}
WHERE ${oid} = ANY ($1::oid[])`;

const constraints = (oid: string): string => `
SELECT ${oid}::int8::text AS of, 'check' AS kind, k.conname::text AS label, pg_get_constraintdef(k.oid) AS text, ${relationColumns}, NULL AS detail
FROM pg_constraint k ${joinRelation('k.conrelid')} WHERE k.contype IN ('c', 'x') AND ${oid} = ANY ($1::oid[])`;

const domainConstraints = (oid: string): string => `
SELECT ${oid}::int8::text AS of, 'domain check' AS kind, k.conname::text AS label, pg_get_constraintdef(k.oid) AS text, ${noRelation},
       format_type(t.typbasetype, t.typtypmod) AS detail
FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid WHERE k.contype = 'c' AND ${oid} = ANY ($1::oid[])`;

/**
 * What of an object the server prints from its parsed form, by the catalogue of the archive's entry; $1: oids of objects.
 * The functions are those that pg_dump itself calls, so that the text is a part of the entry's text, letter by letter.
 */
const QUERIES: ReadonlyMap<number, string> = new Map([
  [
    PG_CLASS,
    `SELECT c.oid::int8::text AS of, 'view' AS kind, '' AS label, rtrim(pg_get_viewdef(c.oid), ';') AS text, ${relationColumns}, NULL AS detail
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1::oid[]) AND c.relkind IN ('v', 'm')
UNION ALL
SELECT i.indexrelid::int8::text, 'index', '', pg_get_indexdef(i.indexrelid), ${relationColumns}, NULL
FROM pg_index i ${joinRelation('i.indrelid')} WHERE i.indexrelid = ANY ($1::oid[])
UNION ALL
SELECT c.oid::int8::text, 'partition key', '', pg_get_partkeydef(c.oid), ${relationColumns}, NULL
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1::oid[]) AND c.relkind = 'p'
UNION ALL ${defaults('d.adrelid')} UNION ALL ${constraints('k.conrelid')}`,
  ],
  [PG_ATTRDEF, defaults('d.oid')],
  [PG_CONSTRAINT, `${constraints('k.oid')} UNION ALL ${domainConstraints('k.oid')}`],
  [
    PG_TYPE,
    `${domainConstraints('k.contypid')} UNION ALL
SELECT t.oid::int8::text, 'default', '', pg_get_expr(t.typdefaultbin, 'pg_type'::regclass), ${noRelation}, format_type(t.typbasetype, t.typtypmod)
FROM pg_type t WHERE t.oid = ANY ($1::oid[]) AND t.typdefaultbin IS NOT NULL`,
  ],
  [
    PG_POLICY,
    `SELECT p.oid::int8::text AS of, 'policy' AS kind, 'USING' AS label, pg_get_expr(p.polqual, p.polrelid) AS text, ${relationColumns}, NULL AS detail
FROM pg_policy p ${joinRelation('p.polrelid')} WHERE p.oid = ANY ($1::oid[])
UNION ALL
SELECT p.oid::int8::text, 'policy', 'WITH CHECK', pg_get_expr(p.polwithcheck, p.polrelid), ${relationColumns}, NULL
FROM pg_policy p ${joinRelation('p.polrelid')} WHERE p.oid = ANY ($1::oid[])`,
  ],
  [
    PG_TRIGGER,
    `SELECT t.oid::int8::text AS of, 'trigger' AS kind, t.tgname::text AS label, pg_get_triggerdef(t.oid, false) AS text, ${relationColumns}, NULL AS detail
FROM pg_trigger t ${joinRelation('t.tgrelid')} WHERE t.oid = ANY ($1::oid[])`,
  ],
  [
    PG_REWRITE,
    `SELECT r.oid::int8::text AS of, CASE WHEN r.ev_type = '1' THEN 'view' ELSE 'rule' END AS kind, r.rulename::text AS label,
       CASE WHEN r.ev_type = '1' THEN rtrim(pg_get_viewdef(c.oid), ';') ELSE pg_get_ruledef(r.oid) END AS text,
       ${relationColumns}, NULL AS detail
FROM pg_rewrite r ${joinRelation('r.ev_class')} WHERE r.oid = ANY ($1::oid[])`,
  ],
  [
    PG_PROC,
    `SELECT p.oid::int8::text AS of, f.kind, '' AS label, f.text, quote_ident(n.nspname) AS quoted_schema, p.proname AS relation,
       quote_ident(n.nspname) || '.' || quote_ident(p.proname) AS quoted, NULL AS relkind, pg_get_functiondef(p.oid) AS detail
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace,
     LATERAL (VALUES ('body', pg_get_function_sqlbody(p.oid)), ('arguments', pg_get_function_arguments(p.oid))) AS f(kind, text)
WHERE p.oid = ANY ($1::oid[]) AND p.prokind IN ('f', 'p')`,
  ],
  [
    PG_STATISTIC_EXT,
    `SELECT s.oid::int8::text AS of, 'statistics' AS kind, '' AS label, pg_get_statisticsobjdef_columns(s.oid) AS text, ${relationColumns}, NULL AS detail
FROM pg_statistic_ext s ${joinRelation('s.stxrelid')} WHERE s.oid = ANY ($1::oid[])`,
  ],
]);

/** The query that lists the fragments of an entry, or null for kinds that hold none. */
export function fragmentQuery(classOid: number): string | null {
  return QUERIES.get(classOid) ?? null;
}

export function fragmentsOf(rows: readonly FragmentRow[]): Fragment[] {
  return rows.flatMap((row) => {
    if (row.text === null) return [];
    const relation =
      row.quoted_schema === null || row.relation === null || row.quoted === null
        ? null
        : { name: row.relation, quoted: row.quoted, quotedSchema: row.quoted_schema, kind: row.relkind ?? '' };
    return [{ kind: row.kind, label: row.label, text: row.text, relation, detail: row.detail ?? '' }];
  });
}

export interface FragmentPair {
  readonly source: Fragment;
  readonly target: Fragment;
}

function key(fragment: Fragment): string {
  return JSON.stringify([fragment.kind, fragment.label]);
}

/**
 * Fragments of the same kind and label whose texts differ; null when one side has a fragment that the other lacks. A column
 * without a default is one whose default is NULL: pg_dump writes that for a partition whose parent has a default, and the
 * target then stores what it reads. Pure.
 */
export function differingFragments(source: readonly Fragment[], target: readonly Fragment[]): FragmentPair[] | null {
  const theirs = new Map(target.map((fragment) => [key(fragment), fragment]));
  const pairs: FragmentPair[] = [];
  for (const fragment of source) {
    const other = theirs.get(key(fragment));
    theirs.delete(key(fragment));
    if (other === undefined && fragment.kind !== 'default') return null;
    const counterpart = other ?? { ...fragment, text: 'NULL' };
    if (counterpart.text !== fragment.text) pairs.push({ source: fragment, target: counterpart });
  }
  for (const fragment of theirs.values()) {
    if (fragment.kind !== 'default') return null;
    pairs.push({ source: { ...fragment, text: 'NULL' }, target: fragment });
  }
  return pairs;
}

/** As it stands in a statement; the keyword keeps a short default such as NULL from being found elsewhere. */
export function printed(fragment: Fragment): string {
  return fragment.kind === 'default' ? `DEFAULT ${fragment.text}` : fragment.text;
}

const byLength = (a: string, b: string): number => b.length - a.length;

/**
 * The pairs of which the two entries' texts are made, when nothing else differs between them; null when something does. What
 * the texts do not contain (a constraint that pg_dump writes as an entry of its own) plays no part. Longest first, so that a
 * fragment which is a part of another does not break it. `same` compares what is left. Pure.
 */
export function equalButFor(
  sourceText: string,
  targetText: string,
  pairs: readonly FragmentPair[],
  same: (source: string, target: string) => boolean = (source, target) => source === target,
): FragmentPair[] | null {
  let [here, there] = [sourceText, targetText];
  const relevant = pairs.filter((pair) => here.includes(printed(pair.source)) || there.includes(printed(pair.target)));
  // One text may stand for several fragments (one condition on two constraints): its counterparts share a mark.
  const counterparts = new Map<string, Set<string>>();
  for (const pair of relevant) {
    const text = printed(pair.source);
    const known = counterparts.get(text) ?? new Set([text]);
    counterparts.set(text, known.add(printed(pair.target)));
  }
  const groups = [...counterparts].toSorted(([a], [b]) => byLength(a, b));
  for (const [index, [, texts]] of groups.entries()) {
    // No SQL text holds a zero byte, so the mark can collide with nothing.
    const mark = `\0${index}\0`;
    for (const text of [...texts].toSorted(byLength)) {
      here = here.replaceAll(text, () => mark);
      there = there.replaceAll(text, () => mark);
    }
  }
  return same(here, there) ? relevant : null;
}

/**
 * Equal but for the order of a table's columns and constraints: CREATE TABLE … INHERITS puts inherited columns first, so
 * that a child attached later with ALTER TABLE comes out of pg_dump in another order. Every column is a line of its own. Pure.
 */
export function equalButForOrder(source: string, target: string): boolean {
  return sortedLines(source) === sortedLines(target);
}

function sortedLines(text: string): string {
  const lines = text.split('\n').map((line) => line.replace(/,$/, ''));
  return lines.toSorted().join('\n');
}
