import type { LiveState } from '../contract/live.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';

export interface CleanUpInput {
  readonly source: ConnectionSettings;
  /** null: nothing was made on the target, or it is not to be looked at. */
  readonly target: ConnectionSettings | null;
  readonly job: string;
  readonly live: LiveState;
  readonly signal: AbortSignal;
  log(level: 'debug' | 'info' | 'warn', message: string): void;
}

export async function cleanUp(_input: CleanUpInput): Promise<{ done: boolean; left: string[] }> {
  return await Promise.reject(new Error('not built yet'));
}
