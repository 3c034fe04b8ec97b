/** Names or patterns, one a line. A comma does not separate: it may stand in a name. */
export function splitLines(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}
