/** The SQL in a hint such as `Run on the target, then resume: ALTER TABLE …;`, with the words around it; null where there is none. */
export function statementOf(
  hint: string,
): { readonly before: string; readonly statement: string; readonly after: string } | null {
  const match = /\b(?:ALTER|CREATE|DROP|COMMENT|RENAME|TRUNCATE)\s[\s\S]*;/.exec(hint);
  if (match === null) return null;
  return {
    before: hint.slice(0, match.index).trim(),
    statement: match[0].trim(),
    after: hint.slice(match.index + match[0].length).trim(),
  };
}
