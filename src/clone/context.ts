import type { JobEventBody, LogLevel } from '../contract/event.ts';
import type { JobOptions } from '../contract/options.ts';
import type { PauseGate } from '../gate.ts';
import type { LeftOut } from '../postgres/left-out.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { PgTools } from '../postgres/tools.ts';
import type { ServerVersion } from '../postgres/version.ts';

/** What filling a target takes, wherever its contents come from. Nothing in it changes while it runs but the gate and the signal. */
export interface TargetContext {
  readonly target: ConnectionSettings;
  readonly options: JobOptions;
  readonly tools: PgTools;
  readonly targetVersion: ServerVersion;
  /** Connections that may be open at once, in all, measured by validation; at least 1. */
  readonly connections: { readonly target: number };
  /** Directory of the agent for short-lived files. */
  readonly workDir: string;
  readonly signal: AbortSignal;
  readonly gate: PauseGate;
  /** What the target's role cannot carry, as was said before the start; nothing when it is not given. */
  readonly leftOut?: LeftOut;
  /** Drop what the target holds before anything is restored. */
  readonly replaceTarget: boolean;
  /** Awaited right before the target is changed for the first time: from then on its contents are this job's. */
  beforeFirstWrite(): Promise<void>;
  emit(event: JobEventBody): void;
}

/** Everything a clone is given. */
export interface CloneContext extends TargetContext {
  readonly source: ConnectionSettings;
  readonly sourceVersion: ServerVersion;
  readonly connections: { readonly source: number; readonly target: number };
}

export function log(context: Pick<TargetContext, 'emit'>, level: LogLevel, message: string): void {
  context.emit({ type: 'log', level, message });
}
