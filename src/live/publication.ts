import type { Session } from '../postgres/session.ts';

export interface TableName {
  readonly schema: string;
  readonly name: string;
}

export interface PublishedTables {
  /** Tables that were asked for and cannot be followed, with the reason in plain words; their changes do not arrive. */
  readonly left: readonly { readonly table: TableName; readonly why: string }[];
}

export async function createPublication(
  _session: Session,
  _name: string,
  _tables: readonly TableName[],
  _signal: AbortSignal,
): Promise<PublishedTables> {
  return await Promise.reject(new Error('not built yet'));
}
export async function addToPublication(
  _session: Session,
  _name: string,
  _table: TableName,
  _signal: AbortSignal,
): Promise<void> {
  await Promise.reject(new Error('not built yet'));
}
export async function dropPublication(_session: Session, _name: string, _signal: AbortSignal): Promise<void> {
  await Promise.reject(new Error('not built yet'));
}
