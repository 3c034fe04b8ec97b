/**
 * Bounds, for the transaction at hand, each wait for a lock while others are held: half of deadlock_timeout. A session that comes to
 * wait for us looks for a deadlock once, after that timeout (PostgreSQL documentation, 20.12); by then we have given way, so that it
 * finds none and is never the victim.
 */
export const HALF_DEADLOCK_TIMEOUT = `
SELECT set_config('lock_timeout', greatest(1, least(500, setting::int / 2))::text, true) FROM pg_settings WHERE name = 'deadlock_timeout'`;
