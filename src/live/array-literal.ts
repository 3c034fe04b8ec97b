import type { Value } from './types.ts';
import { UNCHANGED } from './types.ts';

/** One element, quoted: only then is it safe from being trimmed, split or read as NULL (PostgreSQL documentation, 8.15.2). */
function quoted(text: string): string {
  if (!text.includes('\\') && !text.includes('"')) return `"${text}"`;
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

/**
 * The array literal of one column of `rows`, from row `start` up to `end` exclusive. `plain`: values hold nothing that needs quotes.
 * `delimiter`: pg_type.typdelim of the element's type.
 * @throws RangeError for a value that is not known.
 */
export function columnLiteral(
  rows: readonly (readonly Value[])[],
  column: number,
  start: number,
  end: number,
  plain: boolean,
  delimiter: string,
): string {
  let literal = '{';
  for (let at = start; at < end; at += 1) {
    const value = rows[at]?.[column];
    if (value === undefined || value === UNCHANGED) throw new RangeError(`column ${column} of row ${at} is not known`);
    if (at > start) literal += delimiter;
    if (value === null) literal += 'NULL';
    else literal += plain ? value : quoted(value);
  }
  return `${literal}}`;
}
