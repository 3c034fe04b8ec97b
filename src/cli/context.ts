import { fileURLToPath } from 'node:url';
import { pino, type Logger } from 'pino';
import { packageVersion } from '../jobs/package-version.ts';
import type { Output } from './output.ts';
import type { EnvironmentSettings } from './settings.ts';

/** What every command is given. */
export interface Context {
  readonly env: EnvironmentSettings;
  readonly output: Output;
  readonly version: string;
}

/** The same from `src/cli` and from `dist/agent`: both lie two levels below the package. */
export const webDirectory = fileURLToPath(new URL('../../dist/web/', import.meta.url));

export const readVersion = packageVersion;

/** Logs of the agent itself go to stderr as JSON lines: stdout belongs to what the command was asked for. */
export function createLogger(env: EnvironmentSettings, fallback: 'info' | 'silent'): Logger {
  return pino(
    { name: 'pgsluice', level: env.logLevel ?? fallback, base: { pid: process.pid } },
    pino.destination({ fd: 2, sync: true }),
  );
}
