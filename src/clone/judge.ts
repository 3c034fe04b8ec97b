import { SQLSTATE } from '../postgres/sqlstate.ts';

/** A statement of the archive that the target refused. */
export interface RefusedStatement {
  /** pg_dump's word for the entry. */
  readonly type: string;
  readonly name: string;
  readonly statement: string;
  readonly sqlState: string | null;
  readonly error: string;
}

export interface Verdict {
  readonly harmless: boolean;
  /** Why it may be passed over, or what it means that it failed. */
  readonly reason: string;
}

const privilege: ReadonlySet<string> = new Set([SQLSTATE.insufficientPrivilege, SQLSTATE.featureNotSupported]);

/**
 * Judges one refused statement. Harmless is only what changes neither data nor behaviour, or what the target already has in
 * the very form the source asks for; everything else fails the job. Pure.
 */
export function judgeRefusal(refused: RefusedStatement): Verdict {
  const { type, name, statement, sqlState } = refused;
  if (type === 'COMMENT' && name.startsWith('EXTENSION ') && sqlState !== null && privilege.has(sqlState)) {
    return {
      harmless: true,
      reason: "An extension's comment belongs to the extension's owner; the extension brings its own.",
    };
  }
  if (type === 'COMMENT' && name === 'SCHEMA public' && sqlState !== null && privilege.has(sqlState)) {
    return { harmless: true, reason: 'The comment of the schema public belongs to its owner and changes nothing.' };
  }
  if (type === 'SCHEMA' && name === 'public' && /^(CREATE|ALTER) SCHEMA public\b/.test(statement)) {
    if (sqlState === SQLSTATE.duplicateSchema || sqlState === SQLSTATE.insufficientPrivilege) {
      return { harmless: true, reason: 'The schema public is there; the target keeps the owner it has.' };
    }
  }
  if (type === 'SCHEMA' && statement.startsWith('CREATE SCHEMA') && sqlState === SQLSTATE.duplicateSchema) {
    return { harmless: true, reason: 'The schema is there already: an extension of the target stands in it.' };
  }
  if (type === 'PROCEDURAL LANGUAGE' && name === 'plpgsql' && sqlState !== null) {
    return { harmless: true, reason: 'Every server brings PL/pgSQL.' };
  }
  if (type === 'EXTENSION' && sqlState === SQLSTATE.duplicateObject) {
    return { harmless: true, reason: 'The extension is already installed on the target.' };
  }
  return {
    harmless: false,
    reason: `The target lacks what this statement would have made (${type.toLowerCase()} ${name}).`,
  };
}
