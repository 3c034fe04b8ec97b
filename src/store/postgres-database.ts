import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import { drizzle } from 'drizzle-orm/node-postgres';
import { Pool } from 'pg';
import { PgsluiceError } from '../errors.ts';
import { connectOnce } from '../postgres/connect.ts';
import { chooseTrust, defaultRootFile, systemBundle } from '../postgres/dial.ts';
import { type ConnectionSettings, describeSettings, parseEndpoint } from '../postgres/settings.ts';
import type { OpenDatabase, StateDatabase } from './database.ts';
import * as schema from './schema.ts';

const poolSize = 5;
const applicationName = 'pgsluice state';

/**
 * Opens the state in a PostgreSQL database; several agents may share it.
 * @throws PgsluiceError INVALID_URL for the URL, STATE_UNREACHABLE when the database does not answer.
 */
export async function openPostgres(url: string): Promise<OpenDatabase> {
  const settings = stateSettings(url);
  const pool = makePool(settings, await probe(settings));
  const db: StateDatabase = drizzle(pool, { schema });
  return {
    db,
    onOneConnection: async (task) => {
      const client = await pool.connect();
      let broken = true;
      try {
        const result = await task(drizzle(client, { schema }));
        broken = false;
        return result;
      } finally {
        // After a failure the session may still hold a lock: end it.
        client.release(broken);
      }
    },
    close: () => pool.end(),
  };
}

function stateSettings(url: string): ConnectionSettings {
  try {
    return { ...parseEndpoint({ url }, 'source'), own: true };
  } catch (error) {
    if (!(error instanceof PgsluiceError)) throw error;
    throw new PgsluiceError({
      code: 'INVALID_STATE',
      message: aboutState(error.message),
      hint: error.hint,
      cause: error,
    });
  }
}

/** Connects once with the full meaning of sslmode; answers whether that ended encrypted. */
async function probe(settings: ConnectionSettings): Promise<boolean> {
  try {
    const signal = AbortSignal.timeout(2 * settings.connectTimeoutMs);
    const connected = await connectOnce({ settings, side: 'source', applicationName, readOnly: false, signal });
    await connected.client.end();
    return connected.encrypted;
  } catch (error) {
    if (!(error instanceof PgsluiceError)) throw error;
    throw new PgsluiceError({
      code: 'STATE_UNREACHABLE',
      message: `The state database ${describeSettings(settings)} cannot be used. ${aboutState(error.message)}`,
      hint: error.hint,
      retryable: true,
      cause: error,
    });
  }
}

function aboutState(message: string): string {
  return message.replace(/^The source\b/, 'The state');
}

function makePool(settings: ConnectionSettings, encrypted: boolean): Pool {
  const pool = new Pool({
    host: settings.host.replace(/^@/, '\0'),
    port: settings.port,
    user: settings.user,
    database: settings.database,
    // A function, so that neither PGPASSWORD nor a password file is consulted.
    password: () => settings.password ?? '',
    application_name: applicationName,
    connectionTimeoutMillis: settings.connectTimeoutMs,
    max: poolSize,
    keepAlive: true,
    ssl: encrypted ? tlsOptions(settings) : false,
  });
  // An idle connection that dies (a restart of the server) is replaced at the next query; without a listener it ends the process.
  pool.on('error', () => undefined);
  return pool;
}

function tlsOptions(settings: ConnectionSettings): ConnectionOptions {
  const trust = chooseTrust(settings, defaultRootFile());
  if (trust === null || !trust.verify) return { rejectUnauthorized: false };
  const file = trust.authorities === 'system' ? systemBundle() : trust.authorities;
  return {
    rejectUnauthorized: true,
    ...(file === null ? {} : { ca: readFileSync(file) }),
    ...(trust.hostName ? {} : { checkServerIdentity: () => undefined }),
  };
}
