import { quoteIdent, quoteLiteral } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import type { Fragment } from './fragments.ts';

/**
 * Servers print a view or an expression anew from its parsed form, and what they print depends on their version (16 and
 * later leave out the qualification of columns where one relation is read) and on how often the text went through a parser
 * (`x IN ('a', 'b')` on a varchar column prints differently the second time). Whether two texts mean the same is decided by
 * the target's own parser: the source's text is made into a temporary twin on the target, which prints it; nothing is
 * rewritten here. The transaction is rolled back, so the target keeps nothing of it.
 */

const PROBE = 'pgsluice_probe';

/** Statements that make a twin of a fragment, and the query (one row, column `text`) that prints it. */
export interface Twin {
  readonly statements: readonly string[];
  readonly print: string;
  /** Puts the relation's own name back into what was printed. */
  readonly restore?: (text: string) => string;
}

interface Mention {
  readonly before: string;
  /** ` ON `, ` ON ONLY ` or ` TO `, and the relation. */
  readonly mention: string;
  readonly after: string;
}

/**
 * Finds where a whole statement (index, trigger, rule) names the relation it is about: the first mention behind ON or TO that
 * does not stand inside a quoted name, before which the number of quotation marks is odd.
 */
function findMention(text: string, quoted: string): Mention | null {
  let best: { at: number; mention: string } | null = null;
  for (const word of [' ON ONLY ', ' ON ', ' TO ']) {
    const mention = `${word}${quoted}`;
    for (let at = text.indexOf(mention); at >= 0; at = text.indexOf(mention, at + 1)) {
      const outside = text.slice(0, at).split('"').length % 2 === 1;
      if (!outside) continue;
      if (best === null || at < best.at) best = { at, mention };
      break;
    }
  }
  if (best === null) return null;
  const { at, mention } = best;
  return { before: text.slice(0, at), mention, after: text.slice(at + mention.length) };
}

/** The twin bears its relation's name, since a sub-select may call the relation's columns by it. Pure; null: no twin is possible. */
export function twinOf(fragment: Fragment): Twin | null {
  const relation = fragment.relation;
  const name = relation === null ? '' : quoteIdent(relation.name);
  const table = relation === null ? '' : `CREATE TEMP TABLE ${name} (LIKE ${relation.quoted})`;
  const oid = `(SELECT oid FROM pg_class WHERE relname = ${relation === null ? 'NULL' : quoteLiteral(relation.name)} AND relnamespace = pg_my_temp_schema())`;
  switch (fragment.kind) {
    case 'view':
      return {
        statements: [`CREATE TEMP VIEW ${PROBE} AS ${fragment.text}`],
        print: `SELECT rtrim(pg_get_viewdef(oid), ';') AS text FROM pg_class WHERE relname = '${PROBE}' AND relnamespace = pg_my_temp_schema()`,
      };
    case 'check':
      return {
        statements: [table, `ALTER TABLE pg_temp.${name} ADD CONSTRAINT ${PROBE} ${fragment.text}`],
        print: `SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint WHERE conname = '${PROBE}' AND conrelid = ${oid}`,
      };
    case 'domain check':
      return {
        statements: [
          `CREATE DOMAIN pg_temp.${PROBE} AS ${fragment.detail}`,
          `ALTER DOMAIN pg_temp.${PROBE} ADD CONSTRAINT ${PROBE} ${fragment.text}`,
        ],
        print: `SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint WHERE conname = '${PROBE}' AND connamespace = pg_my_temp_schema()`,
      };
    case 'default':
      return {
        statements: [`CREATE TEMP TABLE ${PROBE} (value ${fragment.detail} DEFAULT ${fragment.text})`],
        print: `SELECT pg_get_expr(adbin, adrelid) AS text FROM pg_attrdef WHERE adrelid = (SELECT oid FROM pg_class WHERE relname = '${PROBE}' AND relnamespace = pg_my_temp_schema())`,
      };
    case 'generated':
      return {
        statements: [
          table,
          `ALTER TABLE pg_temp.${name} ADD COLUMN ${PROBE} ${fragment.detail} GENERATED ALWAYS AS (${fragment.text}) STORED`,
        ],
        print: `SELECT pg_get_expr(adbin, adrelid) AS text FROM pg_attrdef WHERE adrelid = ${oid}`,
      };
    case 'policy':
      return {
        statements: [table, `CREATE POLICY ${PROBE} ON pg_temp.${name} USING (${fragment.text})`],
        print: `SELECT pg_get_expr(polqual, polrelid) AS text FROM pg_policy WHERE polrelid = ${oid}`,
      };
    case 'index':
    case 'trigger':
    case 'rule':
      return wholeStatement(fragment.kind, fragment, table, oid);
    case 'partition key':
      return {
        statements: [`${table} PARTITION BY ${fragment.text}`],
        print: `SELECT pg_get_partkeydef(${oid}) AS text`,
      };
    case 'statistics':
      return {
        statements: [table, `CREATE STATISTICS pg_temp.${PROBE} ON ${fragment.text} FROM pg_temp.${name}`],
        print: `SELECT pg_get_statisticsobjdef_columns(oid) AS text FROM pg_statistic_ext WHERE stxrelid = ${oid}`,
      };
    case 'body':
      return routine('pg_get_function_sqlbody', fragment);
    case 'arguments':
      return routine('pg_get_function_arguments', fragment);
  }
}

/** The twin's name as the server prints it: pg_temp and the relation's name, quoted only where it must be. */
function printedTwin(relation: NonNullable<Fragment['relation']>): string {
  return `pg_temp.${relation.quoted.slice(relation.quotedSchema.length + 1)}`;
}

function wholeStatement(
  kind: 'index' | 'trigger' | 'rule',
  fragment: Fragment,
  table: string,
  oid: string,
): Twin | null {
  const relation = fragment.relation;
  if (relation === null) return null;
  const found = findMention(fragment.text, relation.quoted);
  if (found === null) return null;
  const twin = printedTwin(relation);
  const word = found.mention.startsWith(' TO ') ? ' TO ' : ' ON ';
  const base =
    relation.kind === 'v' ? `CREATE TEMP VIEW ${quoteIdent(relation.name)} AS TABLE ${relation.quoted}` : table;
  const print = {
    index: `SELECT pg_get_indexdef(indexrelid) AS text FROM pg_index WHERE indrelid = ${oid}`,
    trigger: `SELECT pg_get_triggerdef(oid, false) AS text FROM pg_trigger WHERE tgrelid = ${oid}`,
    rule: `SELECT pg_get_ruledef(oid) AS text FROM pg_rewrite WHERE ev_type <> '1' AND ev_class = ${oid}`,
  };
  return {
    statements: [base, `${found.before}${word}${twin}${found.after}`],
    print: print[kind],
    // Back to the relation itself, with the ONLY that the statement had: it is a part of what is compared.
    restore: (text) => {
      const printed = findMention(text, twin);
      return printed === null ? text : `${printed.before}${found.mention}${printed.after}`;
    },
  };
}

/** The whole routine; its name stays, since a body in standard SQL may call its arguments by it. */
function routine(print: string, fragment: Fragment): Twin | null {
  const relation = fragment.relation;
  if (relation === null) return null;
  for (const word of ['FUNCTION', 'PROCEDURE']) {
    const head = `CREATE OR REPLACE ${word} ${relation.quoted}(`;
    if (!fragment.detail.startsWith(head)) continue;
    return {
      statements: [`CREATE OR REPLACE ${word} ${printedTwin(relation)}(${fragment.detail.slice(head.length)}`],
      print: `SELECT ${print}(oid) AS text FROM pg_proc WHERE pronamespace = pg_my_temp_schema()`,
    };
  }
  return null;
}

/** What the server prints of the fragment's twin; the transaction at hand must be rolled back after it. */
export async function printTwin(session: Session, twin: Twin): Promise<string | null> {
  for (const statement of twin.statements) await session.run(statement);
  const rows = await session.query<{ text: string | null }>(twin.print);
  const text = rows.length === 1 ? (rows[0]?.text ?? null) : null;
  return text === null || twin.restore === undefined ? text : twin.restore(text);
}
