import { PgsluiceError } from '../errors.ts';
import { defaultStateDirectory } from '../server/token.ts';

export const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
export type AgentLogLevel = (typeof logLevels)[number];

/** What the environment says; flags of a command win over it. */
export interface EnvironmentSettings {
  readonly state: string;
  readonly host: string;
  readonly port: number;
  readonly token: string | null;
  readonly secretKey: string | null;
  /** Takes the place of `secretKey` (rotate-key). */
  readonly newSecretKey: string | null;
  readonly pgBinDir: string | null;
  readonly hookSecret: string | null;
  /** Null when it was not set: the daemon then logs at info, a foreground command not at all. */
  readonly logLevel: AgentLogLevel | null;
  readonly sourceUrl: string | null;
  readonly targetUrl: string | null;
}

/** Throws PgsluiceError INVALID_PORT or INVALID_LOG_LEVEL. An empty variable counts as not set. */
export function readEnvironment(env: NodeJS.ProcessEnv): EnvironmentSettings {
  const read = (name: string): string | null => {
    const value = env[name];
    return value === undefined || value.trim() === '' ? null : value;
  };
  const port = read('PGSLUICE_PORT');
  return {
    state: read('PGSLUICE_STATE') ?? defaultStateDirectory(),
    host: read('PGSLUICE_HOST') ?? '127.0.0.1',
    port: port === null ? 7432 : parsePort(port, 'PGSLUICE_PORT'),
    token: read('PGSLUICE_TOKEN'),
    secretKey: read('PGSLUICE_SECRET_KEY'),
    newSecretKey: read('PGSLUICE_SECRET_KEY_NEW'),
    pgBinDir: read('PGSLUICE_PG_BIN'),
    hookSecret: read('PGSLUICE_HOOK_SECRET'),
    logLevel: parseLogLevel(read('PGSLUICE_LOG_LEVEL')),
    sourceUrl: read('PGSLUICE_SOURCE_URL'),
    targetUrl: read('PGSLUICE_TARGET_URL'),
  };
}

export function parsePort(text: string, name: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : -1;
  if (port >= 0 && port <= 65_535) return port;
  throw new PgsluiceError({
    code: 'INVALID_PORT',
    message: `${name} is "${text}", which is no port.`,
    hint: 'Give a number from 1 to 65535, or 0 for any free port.',
  });
}

function parseLogLevel(text: string | null): AgentLogLevel | null {
  if (text === null) return null;
  const level = logLevels.find((known) => known === text.toLowerCase());
  if (level !== undefined) return level;
  throw new PgsluiceError({
    code: 'INVALID_LOG_LEVEL',
    message: `PGSLUICE_LOG_LEVEL is "${text}".`,
    hint: `Use one of ${logLevels.join(', ')}.`,
  });
}
