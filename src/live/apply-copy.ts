import { quoteIdent, qualified } from '../postgres/quote.ts';
import type { TablePlan } from './apply-plan.ts';
import { type Tuple, UNCHANGED } from './types.ts';

/** From so many rows on COPY costs the target less than arrays do; below it its extra round trip costs more. */
export const COPY_ROWS = 400;

/** Characters of one piece of COPY data. */
const PIECE = 128 * 1024;

const escapes: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };
const SPECIAL = /[\\\n\r\t]/;
const EVERY_SPECIAL = /[\\\n\r\t]/g;

/** Takes identity columns as they are given, and reads every value by its type's own input function. */
export function copyStatement(plan: TablePlan): string {
  const names = plan.columns.map((column) => quoteIdent(column.name)).join(', ');
  return `COPY ${qualified(plan.table.schema, plan.table.name)} (${names}) FROM STDIN`;
}

/**
 * Rows in COPY's text format (PostgreSQL documentation, COPY, "Text Format"), in pieces of about {@link PIECE} characters. Pure.
 * @throws RangeError for a value that is not known.
 */
export function* copyText(plan: TablePlan, rows: readonly Tuple[]): Generator<string> {
  const plain = plan.columns.map((column) => column.plain);
  let text = '';
  for (const row of rows) {
    for (let at = 0; at < plain.length; at += 1) {
      const value = row[at];
      if (value === undefined || value === UNCHANGED) throw new RangeError(`column ${at} of a new row is not known`);
      if (at > 0) text += '\t';
      if (value === null) text += '\\N';
      else if (plain[at] === true || !SPECIAL.test(value)) text += value;
      else text += value.replace(EVERY_SPECIAL, (one) => escapes[one] ?? one);
    }
    text += '\n';
    if (text.length < PIECE) continue;
    yield text;
    text = '';
  }
  if (text !== '') yield text;
}
