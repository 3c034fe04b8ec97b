import { PgsluiceError } from '../errors.ts';
import { type Session, openSession } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';

/**
 * Statements are planned once, as if they brought few rows: by index, whatever the table's statistics say so soon after its copy. A
 * plan by hash or by reading the whole table would be right for the table as it was, and last while it grows.
 */
const SET: ReadonlyMap<string, string> = new Map([
  ['plan_cache_mode', 'force_generic_plan'],
  ['enable_seqscan', 'off'],
  ['enable_hashjoin', 'off'],
  ['enable_mergejoin', 'off'],
  ['jit', 'off'],
]);

/** What the values mean that are written: a session in which one of these is otherwise must write nothing. */
const MEANING: ReadonlyMap<string, string> = new Map([
  ['datestyle', 'ISO, MDY'],
  ['intervalstyle', 'postgres'],
  ['timezone', 'UTC'],
  ['lc_monetary', 'C'],
  ['xmloption', 'content'],
  ['array_nulls', 'on'],
  ['standard_conforming_strings', 'on'],
  ['search_path', 'pg_catalog'],
  ['client_encoding', 'UTF8'],
  ['default_transaction_isolation', 'read committed'],
  ['default_transaction_read_only', 'off'],
  ['statement_timeout', '0'],
  ['lock_timeout', '0'],
]);

/** What is not as it has to be: one entry a setting, in plain words. Pure. */
export function wrongSettings(found: ReadonlyMap<string, string>): string[] {
  const wrong: string[] = [];
  for (const [name, wanted] of [...SET, ...MEANING]) {
    const value = found.get(name);
    if (value !== wanted) wrong.push(`${name} is ${value ?? 'unknown'} instead of ${wanted}`);
  }
  if (found.get('synchronous_commit') === 'off') wrong.push('synchronous_commit is off');
  return wrong;
}

/**
 * Opens the session that applies, with every setting read back: one that was refused or left out would make other values of the same
 * text, or lose what the source has been told is durable.
 * @throws PgsluiceError SETTINGS_REFUSED, and as openSession does.
 */
export async function openApplySession(
  settings: ConnectionSettings,
  job: string,
  signal: AbortSignal,
): Promise<Session> {
  // The name ends in the job's id, by which what is left of an agent is known.
  const session = await openSession(settings, { signal, side: 'target', purpose: `apply ${job}`, pipeline: true });
  try {
    await session.query(
      `SELECT set_config(v.name, v.value, false) FROM unnest($1::text[], $2::text[]) AS v (name, value)`,
      [[...SET.keys()], [...SET.values()]],
    );
    await session.query(
      `SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`,
    );
    const rows = await session.query<{ name: string; value: string }>(
      `SELECT lower(name) AS name, setting AS value FROM pg_settings WHERE lower(name) = ANY ($1)`,
      [[...SET.keys(), ...MEANING.keys(), 'synchronous_commit']],
    );
    const wrong = wrongSettings(new Map(rows.map(({ name, value }) => [name, value])));
    if (wrong.length === 0) return session;
    throw new PgsluiceError({
      code: 'SETTINGS_REFUSED',
      message: `The target's session is not as it has to be for changes to be written exactly: ${wrong.join('; ')}.`,
      hint: 'Connect to the server directly, not through a pooler or proxy that answers SET itself, then start the job again.',
    });
  } catch (error) {
    await session.close();
    throw error;
  }
}
