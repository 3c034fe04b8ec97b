import { setTimeout as sleep } from 'node:timers/promises';
import { quoteIdent } from '../postgres/quote.ts';
import { failed, informed, passed, warned } from './check.ts';
import type { Check, Remedy, Verdict } from './check.ts';
import { perDatabase } from './database.ts';

/** Limits of a server and how much of them is in use, our own session included. Limits of -1 are none. */
export interface ConnectionUse {
  readonly maxConnections: number;
  /** Slots this role may not take: superuser_reserved_connections and, from 16, reserved_connections. */
  readonly reserved: number;
  readonly inUse: number;
  readonly roleLimit: number;
  readonly roleInUse: number;
  readonly databaseLimit: number;
  readonly databaseInUse: number;
  readonly superuser: boolean;
}

/**
 * backend_type is null for sessions of others where the role lacks pg_read_all_stats; having a database then stands for
 * being a client. Role and database limits do not bind superusers (PostgreSQL documentation, CREATE ROLE and CREATE DATABASE).
 */
const CONNECTION_USE = `
WITH a AS (
  SELECT usesysid, datid FROM pg_stat_activity
  WHERE backend_type = 'client backend' OR (backend_type IS NULL AND datid IS NOT NULL)
), reserve AS (
  SELECT COALESCE(sum(s.setting::int) FILTER (WHERE s.name = 'superuser_reserved_connections'), 0)
       + COALESCE(sum(s.setting::int) FILTER (WHERE s.name = 'reserved_connections' AND NOT EXISTS (
           SELECT FROM pg_roles p WHERE p.rolname = 'pg_use_reserved_connections' AND pg_has_role(p.oid, 'USAGE'))), 0) AS n
  FROM pg_settings s
)
SELECT current_setting('max_connections')::int AS "maxConnections",
       CASE WHEN r.rolsuper THEN 0 ELSE (SELECT n FROM reserve)::int END AS reserved,
       (SELECT count(*)::int FROM a) AS "inUse",
       r.rolconnlimit AS "roleLimit", (SELECT count(*)::int FROM a WHERE a.usesysid = r.oid) AS "roleInUse",
       d.datconnlimit AS "databaseLimit", (SELECT count(*)::int FROM a WHERE a.datid = d.oid) AS "databaseInUse",
       r.rolsuper AS superuser
FROM pg_roles r, pg_database d
WHERE r.rolname = session_user AND d.datname = current_database()`;

/** Connections the role can have at once for the job: what is free, and the validating session's own slot, which is given back. */
export function connectionsAvailable(use: ConnectionUse): number {
  const free = [use.maxConnections - use.reserved - use.inUse];
  if (!use.superuser && use.roleLimit >= 0) free.push(use.roleLimit - use.roleInUse);
  if (!use.superuser && use.databaseLimit >= 0) free.push(use.databaseLimit - use.databaseInUse);
  return Math.max(0, Math.min(...free)) + 1;
}

/**
 * How many each side gets where both are databases of one server: each figure counts its own session as free and the
 * other's as in use. The source comes first, it needs two.
 */
export function shareConnections(source: number, target: number): { readonly source: number; readonly target: number } {
  const total = Math.min(source, target) + 1;
  const forTarget = Math.max(1, Math.floor(total / 2));
  return { source: Math.min(source, total - forTarget), target: Math.min(target, forTarget) };
}

/**
 * Connections that a live job has open at once at most, beside a copy's, in its cutover. Source: walsender, monitor, guardrails,
 * watch over the schema and its last look, cutover, two of the fence, the snapshot. Target: apply, guardrails, cutover, the
 * snapshot, and one for a short question.
 */
export const LIVE_CONNECTIONS = { source: 9, target: 5 } as const;

/** The limit that binds, in words with the statement that raises it. */
function bindingLimit(
  use: ConnectionUse,
  role: string,
  database: string,
  needed: number,
): { words: string; remedy: Remedy } {
  const available = connectionsAvailable(use);
  if (!use.superuser && use.roleLimit >= 0 && use.roleLimit - use.roleInUse + 1 <= available) {
    return {
      words: `the role ${role} has CONNECTION LIMIT ${use.roleLimit}, ${use.roleInUse} in use`,
      remedy: [
        {
          text: `ALTER ROLE ${quoteIdent(role)} CONNECTION LIMIT ${Math.max(needed, use.roleInUse - 1 + needed)};`,
          need: 'connections',
        },
      ],
    };
  }
  if (!use.superuser && use.databaseLimit >= 0 && use.databaseLimit - use.databaseInUse + 1 <= available) {
    return {
      words: `the database ${database} has CONNECTION LIMIT ${use.databaseLimit}, ${use.databaseInUse} in use`,
      remedy: `ALTER DATABASE ${quoteIdent(database)} CONNECTION LIMIT ${Math.max(needed, use.databaseInUse - 1 + needed)};`,
    };
  }
  return {
    words: `max_connections is ${use.maxConnections}, ${use.inUse} in use, ${use.reserved} reserved`,
    remedy: [
      {
        text: 'End sessions that are not needed, or raise max_connections and restart the server.',
        need: 'connections',
      },
    ],
  };
}

export interface HeadroomNeed {
  /** Below this many the job crawls. */
  readonly comfortable: number;
  /** What the job's options would use. */
  readonly wanted: number;
}

/**
 * A side that lets no connection in fails the connect checks; one is enough to work with. On the source the second one is
 * pg_dump's or a reader's, beside the session that keeps the snapshot; with a single one they take turns.
 */
export function headroomNeed(side: 'source' | 'target', jobs: { tableJobs: number; indexJobs: number }): HeadroomNeed {
  return side === 'source'
    ? { comfortable: 2, wanted: jobs.tableJobs + 1 }
    : { comfortable: 2, wanted: Math.max(jobs.tableJobs, jobs.indexJobs) };
}

export function judgeHeadroom(use: ConnectionUse, need: HeadroomNeed, at: { role: string; database: string }): Verdict {
  const available = connectionsAvailable(use);
  const limit = bindingLimit(use, at.role, at.database, Math.max(need.wanted, need.comfortable));
  const found = `This role can have ${available} at once (${limit.words})`;
  if (available < need.comfortable) return warned(`${found}; everything is done one after the other.`, limit.remedy);
  if (available < need.wanted)
    return informed(`${found}; the options would use ${need.wanted}, so fewer jobs run at once.`, limit.remedy);
  return passed(`${found}.`);
}

/** Below what a live job has open in its cutover it would fail there, so it is not begun. Pure. */
export function judgeLiveConnections(
  use: ConnectionUse,
  needed: number,
  at: { role: string; database: string },
): Verdict {
  const available = connectionsAvailable(use);
  const limit = bindingLimit(use, at.role, at.database, needed);
  const found = `This role can have ${available} connections at once (${limit.words})`;
  if (available >= needed) return passed(`${found}; the cutover takes ${needed}.`);
  return failed('CONNECTIONS_TOO_FEW', `${found}, and the cutover takes ${needed}.`, limit.remedy);
}

/** A server takes a moment to count out sessions that were just closed: scarce figures are read again a few times. */
const SCARCE = 10;
const LOOKS = 5;
const BETWEEN_LOOKS_MS = 200;

/** Counted once a side, before any further session of ours is opened. */
export const readConnectionUse = perDatabase(async (database) => {
  for (let look = 1; ; look += 1) {
    const use = await database.one<ConnectionUse & Record<string, unknown>>(CONNECTION_USE);
    if (look === LOOKS || connectionsAvailable(use) >= SCARCE) return use;
    await sleep(BETWEEN_LOOKS_MS);
  }
});

export const headroomCheck: Check = {
  id: 'connect.headroom',
  severity: 'blocks',
  title: 'Both servers leave this role enough connections for the job.',
  needs: 'each',
  run: async (database, { options }) =>
    judgeHeadroom(await readConnectionUse(database), headroomNeed(database.side, options), {
      role: database.identity.role,
      database: database.identity.database,
    }),
};
