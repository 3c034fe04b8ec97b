import { PgsluiceError } from '../errors.ts';
import type { Lsn } from '../postgres/lsn.ts';
import type { Session } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';

type Log = (level: 'debug' | 'info' | 'warn', message: string) => void;

export interface CreateSlotInput {
  /** Of the source; the role needs REPLICATION. */
  readonly settings: ConnectionSettings;
  readonly name: string;
  readonly signal: AbortSignal;
  /** Told whenever what the slot waits for changes, in plain words. */
  onWait(text: string): void;
  readonly log: Log;
}

export interface Leftovers {
  readonly slots: readonly { readonly name: string; readonly active: boolean; readonly retainedBytes: number }[];
  readonly publications: readonly string[];
}

const unbuilt = (): never => {
  throw new PgsluiceError({ code: 'NOT_BUILT', message: 'Slots are not made yet.', hint: 'Use method copy.' });
};

export async function createSlot(_input: CreateSlotInput): Promise<{ consistentPoint: Lsn; reused: boolean }> {
  return await Promise.resolve(unbuilt());
}
export async function dropSlot(_session: Session, _name: string, _signal: AbortSignal): Promise<void> {
  await Promise.resolve(unbuilt());
}
export async function findLeftovers(_session: Session): Promise<Leftovers> {
  return await Promise.resolve(unbuilt());
}
export async function dropLeftovers(_session: Session, _keep: readonly string[]): Promise<readonly string[]> {
  return await Promise.resolve(unbuilt());
}
