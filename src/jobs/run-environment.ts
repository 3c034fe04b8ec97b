import type { Logger } from 'pino';
import type { Store } from '../store/store.ts';
import type { HookMeans } from './hook-call.ts';
import type { ManagerConfig } from './manager-types.ts';
import type { JobRooms } from './rooms.ts';

export interface RunEnvironment {
  readonly store: Store;
  readonly rooms: JobRooms;
  readonly pgBinDir: string | null;
  readonly logger: Logger;
  readonly holdSnapshotMs: number;
  readonly hooks: Pick<HookMeans, 'allowCommands' | 'secret' | 'firstPauseMs'>;
}

/** How hooks are called by this agent. Pure. */
export function hookMeans({ allowCommands, hookSecret, hookPauseMs }: ManagerConfig): RunEnvironment['hooks'] {
  return {
    allowCommands: allowCommands ?? false,
    secret: hookSecret ?? null,
    ...(hookPauseMs === undefined ? {} : { firstPauseMs: hookPauseMs }),
  };
}

/** Of the reason with which the agent's own stop ends a run. */
export const stoppedCode = 'AGENT_STOPPED';

/** How long a clean-up of both servers may take, in ms: when a person waits for it, and when the agent stops. */
export const cleanMs = 20_000;
export const hurriedMs = 2_500;

/** The state could not be written, or is another agent's: says nothing about the two servers. */
export const storeCodes: ReadonlySet<string> = new Set([
  'STATE_UNREACHABLE',
  'STATE_DISK_FULL',
  'STATE_TOO_SLOW',
  'JOB_TAKEN_OVER',
]);
