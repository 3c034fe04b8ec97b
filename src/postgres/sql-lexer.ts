import { PgsluiceError } from '../errors.ts';

/**
 * Splits the SQL that pg_restore prints into statements and comments. Needed because function bodies, comments and string
 * literals may hold anything, also lines that look like pg_restore's own markers; only what stands outside of every
 * quotation counts. Follows psql's rules (PostgreSQL documentation, 4.1 "Lexical Structure"): dollar quotes, E strings,
 * nested block comments, parentheses, and BEGIN ATOMIC … END bodies in which a semicolon ends no statement.
 */

/** What a statement of an SQL-standard body begins with (gram.y, routine_body_stmt). */
const inBody: ReadonlySet<string> = new Set([
  'select',
  'with',
  'values',
  'table',
  'insert',
  'update',
  'delete',
  'merge',
  'return',
]);

function hidden(word: string): PgsluiceError {
  return new PgsluiceError({
    code: 'SQL_UNREADABLE',
    message: `The body of a routine holds a statement that begins with ${word}, which no routine's body can.`,
    hint: 'Look at the routines of the source that are written with BEGIN ATOMIC; leave out the schema of the one at fault.',
  });
}

export type SqlToken =
  | { readonly kind: 'statement'; readonly text: string }
  | { readonly kind: 'comment'; readonly text: string };

const identifier = /[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*/y;
const dollarTag = /\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/y;
/** What follows the BEGIN of a routine's body; a routine or schema may be called begin as well. */
const atomic = /\s+atomic\b/iy;
/** What PostgreSQL takes for space, and for the end of a line comment; JavaScript's \s knows more, which are letters there (scan.l). */
const space = /[ \t\n\r\f\v]/;
const lineBreak = /[\n\r]/g;
/** Everything that cannot begin a token with a meaning here; skipped in one step. */
const plain = /[^'"$\-/;()\\A-Za-z_\u0080-\uffff\n]+/y;

/** Index after the quotation that begins at `start`; the end of the text when it is never closed. */
function endOfQuote(sql: string, start: number, quote: string, backslashes: boolean): number {
  let at = start + 1;
  while (at < sql.length) {
    const char = sql[at];
    if (backslashes && char === '\\') at += 2;
    else if (char !== quote) at += 1;
    else if (sql[at + 1] === quote) at += 2;
    else return at + 1;
  }
  return sql.length;
}

function endOfBlockComment(sql: string, start: number): number {
  let depth = 1;
  let at = start + 2;
  while (at < sql.length && depth > 0) {
    if (sql.startsWith('/*', at)) {
      depth += 1;
      at += 2;
    } else if (sql.startsWith('*/', at)) {
      depth -= 1;
      at += 2;
    } else at += 1;
  }
  return at;
}

/**
 * Yields the statements of `sql` (each with its closing semicolon, without surrounding space) and the line comments that
 * stand between statements, in order. psql meta-commands (a backslash that begins a line outside of statements, such as
 * `\restrict`) are left out. `escapes`: a backslash escapes in plain literals too (standard_conforming_strings = off).
 * @throws PgsluiceError SQL_UNREADABLE for a routine's body that holds what none can: behind it other statements would hide.
 */
export function* tokenizeSql(sql: string, escapes = false): Generator<SqlToken> {
  let at = 0;
  /** Where the statement at hand began, or -1 between statements. */
  let start = -1;
  let parentheses = 0;
  let bodyDepth = 0;
  let words: string[] = [];
  /** Nothing of a statement inside of a routine's body has come yet. */
  let fresh = false;

  const inRoutine = (): boolean => {
    const [create, ...rest] = words;
    const what = rest[0] === 'or' && rest[1] === 'replace' ? rest[2] : rest[0];
    return create === 'create' && (what === 'function' || what === 'procedure');
  };

  while (at < sql.length) {
    const char = sql[at] ?? '';
    if (space.test(char)) {
      at += 1;
      continue;
    }
    if (char === '-' && sql[at + 1] === '-') {
      lineBreak.lastIndex = at;
      const end = lineBreak.exec(sql)?.index ?? sql.length;
      if (start < 0) yield { kind: 'comment', text: sql.slice(at, end) };
      at = end;
      continue;
    }
    if (char === '/' && sql[at + 1] === '*') {
      at = endOfBlockComment(sql, at);
      continue;
    }
    if (start < 0 && char === '\\') {
      const lineEnd = sql.indexOf('\n', at);
      at = lineEnd < 0 ? sql.length : lineEnd;
      continue;
    }
    if (start < 0) {
      start = at;
      parentheses = 0;
      bodyDepth = 0;
      words = [];
    }
    if (char === "'") {
      at = endOfQuote(sql, at, "'", escapes);
    } else if (char === '"') {
      at = endOfQuote(sql, at, '"', false);
    } else if (char === '$') {
      dollarTag.lastIndex = at;
      const tag = dollarTag.exec(sql)?.[0];
      if (tag === undefined) at += 1;
      else {
        const end = sql.indexOf(tag, at + tag.length);
        at = end < 0 ? sql.length : end + tag.length;
      }
    } else if (char === '(') {
      parentheses += 1;
      at += 1;
    } else if (char === ')') {
      parentheses = Math.max(0, parentheses - 1);
      at += 1;
    } else if (char === ';') {
      at += 1;
      if (parentheses === 0 && bodyDepth === 0) {
        yield { kind: 'statement', text: sql.slice(start, at) };
        start = -1;
      } else if (parentheses === 0) fresh = true;
    } else {
      identifier.lastIndex = at;
      const word = identifier.exec(sql)?.[0];
      if (word !== undefined) {
        at += word.length;
        const lower = word.toLowerCase();
        if (lower === 'e' && sql[at] === "'") {
          at = endOfQuote(sql, at, "'", true);
          continue;
        }
        if (words.length < 4) words.push(lower);
        if (parentheses === 0 && inRoutine()) {
          atomic.lastIndex = at;
          if (bodyDepth === 0) {
            if (lower === 'begin' && atomic.test(sql)) {
              bodyDepth = 1;
              at = atomic.lastIndex;
              fresh = true;
            }
            continue;
          }
          if (lower === 'case') bodyDepth += 1;
          else if (lower === 'end') bodyDepth -= 1;
          if (fresh && (lower === 'end' ? bodyDepth > 0 : !inBody.has(lower))) throw hidden(word);
        }
        fresh = false;
      } else {
        plain.lastIndex = at;
        const run = plain.exec(sql)?.[0];
        at += run === undefined ? 1 : run.length;
      }
    }
  }
  if (start >= 0) yield { kind: 'statement', text: sql.slice(start).trimEnd() };
}
