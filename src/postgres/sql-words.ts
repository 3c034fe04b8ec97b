/**
 * The words of one statement, so that a role in it is told from a string, a comment or a column that reads the same
 * (PostgreSQL documentation, 4.1 "Lexical Structure"). For statements as pg_dump prints them.
 */
export interface SqlWord {
  /** `name`: an identifier or keyword; `text`: any constant; `mark`: one punctuation or operator character. */
  readonly kind: 'name' | 'text' | 'mark';
  /** What a name stands for: folded to lower case when it is not quoted, unescaped when it is. Of others the text itself. */
  readonly value: string;
  readonly quoted: boolean;
  /** Offsets in the statement. */
  readonly start: number;
  readonly end: number;
  /** How many parentheses are open around it. */
  readonly depth: number;
}

const token =
  /(?<space>\s+|--[^\n]*)|(?<quoted>"(?:[^"]|"")*")|(?<text>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')|(?<dollar>\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$)|(?<name>[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*)|(?<mark>[\s\S])/y;

/** Splits a statement into its words. Pure; of a dollar-quoted constant the whole is one word. */
export function sqlWords(sql: string): SqlWord[] {
  const words: SqlWord[] = [];
  let at = 0;
  let depth = 0;
  while (at < sql.length) {
    token.lastIndex = at;
    const groups = token.exec(sql)?.groups ?? {};
    const start = at;
    at = token.lastIndex;
    const add = (kind: SqlWord['kind'], value: string, quoted = false): void => {
      words.push({ kind, value, quoted, start, end: at, depth });
    };
    if (groups['space'] !== undefined) continue;
    if (groups['quoted'] !== undefined) add('name', groups['quoted'].slice(1, -1).replaceAll('""', '"'), true);
    else if (groups['text'] !== undefined) add('text', groups['text']);
    else if (groups['dollar'] !== undefined) {
      const end = sql.indexOf(groups['dollar'], at);
      at = end < 0 ? sql.length : end + groups['dollar'].length;
      add('text', sql.slice(start, at));
    } else if (groups['name'] !== undefined) add('name', groups['name'].toLowerCase());
    else {
      const mark = groups['mark'] ?? '';
      if (mark === ')') depth = Math.max(0, depth - 1);
      add('mark', mark);
      if (mark === '(') depth += 1;
    }
  }
  return words;
}

/** True for the keyword itself, not for an identifier in quotes that reads like it. */
export function isKeyword(word: SqlWord | undefined, keyword: string): boolean {
  return word?.kind === 'name' && !word.quoted && word.value === keyword;
}
