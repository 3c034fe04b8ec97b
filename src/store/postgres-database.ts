import { readFileSync } from 'node:fs';
import { drizzle } from 'drizzle-orm/node-postgres';
import pg from 'pg';
import { PgsluiceError } from '../errors.ts';
import { type ConnectionSettings, describeSettings, parseEndpoint } from '../postgres/settings.ts';
import type { OpenDatabase, StateDatabase } from './database.ts';
import * as schema from './schema.ts';

const poolSize = 5;

/**
 * Opens the state in a PostgreSQL database; several agents may share it.
 * @throws PgsluiceError INVALID_URL for the URL, STATE_UNREACHABLE when the database does not answer.
 */
export async function openPostgres(url: string): Promise<OpenDatabase> {
  const settings = stateSettings(url);
  const { pool, failure } = await firstThatConnects(settings);
  if (failure !== null) {
    throw new PgsluiceError({
      code: 'STATE_UNREACHABLE',
      message: `The state database ${describeSettings(settings)} does not answer: ${messageOf(failure)}.`,
      hint: 'Check the URL in --state or PGSLUICE_STATE, and that the database is up and lets this user in.',
      retryable: true,
      cause: failure,
    });
  }
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
    return parseEndpoint({ url }, 'source');
  } catch (error) {
    if (!(error instanceof PgsluiceError)) throw error;
    throw new PgsluiceError({
      code: 'INVALID_STATE',
      message: error.message.replace(/^The source/, 'The state'),
      hint: error.hint,
      cause: error,
    });
  }
}

/** libpq's meaning of sslmode (documentation 34.19.1): `prefer` tries TLS first, `allow` last; only verify-* look at the certificate. */
export function tlsAttempts(settings: ConnectionSettings): (false | { rejectUnauthorized: boolean; verifyName: boolean })[] {
  const unverified = { rejectUnauthorized: false, verifyName: false };
  if (settings.host.startsWith('/')) return [false];
  switch (settings.sslmode) {
    case 'disable':
      return [false];
    case 'allow':
      return [false, unverified];
    case 'prefer':
      return [unverified, false];
    case 'require':
      // As in libpq, a given CA turns `require` into verify-ca.
      return [settings.sslrootcert === null ? unverified : { rejectUnauthorized: true, verifyName: false }];
    case 'verify-ca':
      return [{ rejectUnauthorized: true, verifyName: false }];
    case 'verify-full':
      return [{ rejectUnauthorized: true, verifyName: true }];
  }
}

async function firstThatConnects(settings: ConnectionSettings): Promise<{ pool: pg.Pool; failure: unknown }> {
  const attempts = tlsAttempts(settings).map((tls) => makePool(settings, tls));
  let failure: unknown = null;
  for (const [index, pool] of attempts.entries()) {
    try {
      await pool.query('select 1');
      return { pool, failure: null };
    } catch (error) {
      failure = error;
      await pool.end();
      if (index === attempts.length - 1) return { pool, failure };
    }
  }
  throw failure;
}

function makePool(settings: ConnectionSettings, tls: ReturnType<typeof tlsAttempts>[number]): pg.Pool {
  const ca =
    settings.sslrootcert === null || settings.sslrootcert === 'system' ? undefined : readFileSync(settings.sslrootcert);
  const pool = new pg.Pool({
    host: settings.host,
    port: settings.port,
    user: settings.user,
    database: settings.database,
    ...(settings.password === null ? {} : { password: settings.password }),
    application_name: 'pgsluice state',
    connectionTimeoutMillis: settings.connectTimeoutMs,
    max: poolSize,
    keepAlive: true,
    ssl:
      tls === false
        ? false
        : {
            rejectUnauthorized: tls.rejectUnauthorized,
            ...(ca === undefined ? {} : { ca }),
            ...(tls.verifyName ? {} : { checkServerIdentity: () => undefined }),
          },
  });
  // An idle connection that dies (a restart of the server) is replaced at the next query; without a listener it ends the process.
  pool.on('error', () => undefined);
  return pool;
}

function messageOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join('; ');
  return error instanceof Error ? error.message.replace(/\.$/, '') : String(error);
}
