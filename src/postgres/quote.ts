import { PgsluiceError } from '../errors.ts';

function refuseNul(text: string, what: string): void {
  if (!text.includes('\0')) return;
  throw new PgsluiceError({
    code: 'INVALID_NAME',
    message: `A ${what} holds a zero byte, which PostgreSQL cannot store.`,
    hint: `Remove the zero byte from the ${what}.`,
  });
}

/**
 * Always quotes, so that the result depends on no keyword list and no server version
 * (PostgreSQL documentation 4.1.1). Throws `INVALID_NAME` for a zero byte.
 */
export function quoteIdent(name: string): string {
  refuseNul(name, 'name');
  return `"${name.replaceAll('"', '""')}"`;
}

/**
 * A string constant that reads the same whatever `standard_conforming_strings` is: backslashes make it an
 * escape string (PostgreSQL documentation 4.1.2.2). Throws `INVALID_NAME` for a zero byte.
 */
export function quoteLiteral(text: string): string {
  refuseNul(text, 'value');
  const body = text.replaceAll("'", "''");
  // The leading space keeps the E from joining a word that stands before it.
  return body.includes('\\') ? ` E'${body.replaceAll('\\', '\\\\')}'` : `'${body}'`;
}

/** `"schema"."name"`, both quoted. */
export function qualified(schema: string, name: string): string {
  return `${quoteIdent(schema)}.${quoteIdent(name)}`;
}
