import { PgsluiceError } from '../errors.ts';
import type { ReachRules } from '../reach.ts';
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
  /** PGSLUICE_ALLOW_HOSTS and PGSLUICE_DENY_PRIVATE: which servers jobs may reach. */
  readonly reach: ReachRules;
  readonly archiveDir: string | null;
  readonly sourceUrl: string | null;
  readonly targetUrl: string | null;
  /** How the daemon is reached. */
  readonly door: DoorSettings;
}

/** Throws PgsluiceError INVALID_PORT, INVALID_SWITCH or INVALID_LOG_LEVEL. An empty variable counts as not set. */
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
    reach: {
      allow: read('PGSLUICE_ALLOW_HOSTS'),
      denyPrivate: parseSwitch(read('PGSLUICE_DENY_PRIVATE'), 'PGSLUICE_DENY_PRIVATE'),
    },
    archiveDir: read('PGSLUICE_ARCHIVE_DIR'),
    door: readDoor(read),
    sourceUrl: read('PGSLUICE_SOURCE_URL'),
    targetUrl: read('PGSLUICE_TARGET_URL'),
  };
}

/** Who may come in, and how. */
export interface DoorSettings {
  readonly allowClients: string | null;
  readonly trustProxy: string | null;
  readonly tlsCert: string | null;
  readonly tlsKey: string | null;
  /** Plain HTTP beyond this machine is meant. */
  readonly insecure: boolean;
}

function readDoor(read: (name: string) => string | null): DoorSettings {
  return {
    allowClients: read('PGSLUICE_ALLOW_CLIENTS'),
    trustProxy: read('PGSLUICE_TRUST_PROXY'),
    tlsCert: read('PGSLUICE_TLS_CERT'),
    tlsKey: read('PGSLUICE_TLS_KEY'),
    insecure: parseSwitch(read('PGSLUICE_INSECURE'), 'PGSLUICE_INSECURE'),
  };
}

/** A switch that protects must not be off because of how it was spelled. */
function parseSwitch(text: string | null, name: string): boolean {
  const word = text?.trim().toLowerCase() ?? 'off';
  if (['1', 'true', 'on', 'yes'].includes(word)) return true;
  if (['0', 'false', 'off', 'no'].includes(word)) return false;
  throw new PgsluiceError({
    code: 'INVALID_SWITCH',
    message: `${name} is "${text}".`,
    hint: 'Use 1 for on and 0 for off.',
  });
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
