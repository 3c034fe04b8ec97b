import type { Lsn } from '../postgres/lsn.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { ChangeStream } from './types.ts';

export interface OpenChangeStream {
  /** Of the source; the role needs REPLICATION. */
  readonly settings: ConnectionSettings;
  readonly slot: string;
  readonly publication: string;
  /** Everything that committed before it is durable on the target; 0 for what the slot itself remembers. */
  readonly from: Lsn;
  readonly sourceMajor: number;
  /** Directory of the agent for large transactions; made when it is needed. */
  readonly workDir: string;
  /** When it fires, the stream ends with its reason. */
  readonly signal: AbortSignal;
  /** Bytes of changes above which a transaction goes to disk. */
  readonly spoolAboveBytes?: number;
  /** Bytes of whole transactions that may wait here before the source is told to wait. */
  readonly queueBytes?: number;
  /** How long the source may say nothing at all, in ms; it is asked for a sign of life three times as often. */
  readonly silenceMs?: number;
  log(level: 'debug' | 'info' | 'warn', message: string): void;
}

export async function openChangeStream(_input: OpenChangeStream): Promise<ChangeStream> {
  return await Promise.reject(new Error('not built yet'));
}
