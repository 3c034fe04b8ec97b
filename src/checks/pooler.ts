import { openSession } from '../postgres/session.ts';
import { failed, passed, warned } from './check.ts';
import type { Check, Scope, Verdict } from './check.ts';
import type { Database } from './database.ts';
import { connectionsAvailable, readConnectionUse } from './headroom.ts';

/** What can be seen of something that stands between us and the server. */
export interface PoolerSigns {
  readonly side: 'source' | 'target';
  readonly host: string;
  readonly port: number;
  /** Process id of the startup message; a pooler makes one up. */
  readonly announcedPid: number;
  /** pg_backend_pid() of transactions of one session, in order. */
  readonly backendPids: readonly number[];
  /** Backend of a second session, seen while its transaction was open; null when no second connection was made. */
  readonly otherPid: number | null;
  /** Why the second session could not use our exported snapshot; empty when it could, null when this was not tried. */
  readonly snapshotRefusal: string | null;
}

/** Hosts and ports that providers give to their transaction poolers (places/neon.ts, places/supabase.ts), whatever the domain. */
function looksLikeTransactionPooler(host: string, port: number): boolean {
  return port === 6543 || /-pooler(\.|$)/.test(host);
}

export function judgePooler(signs: PoolerSigns): Verdict {
  const { host, port } = signs;
  const text = looksLikeTransactionPooler(host, port)
    ? `Use the direct address of the ${signs.side}: the host without "-pooler", port 5432 instead of 6543, or your provider's "session" connection string.`
    : `Use the direct address of the ${signs.side}'s server, or a pooler in session mode (PgBouncer: pool_mode = session).`;
  const remedy = [{ text, need: 'pooler' }] as const;
  const first = signs.backendPids[0];
  const moved = signs.backendPids.some((pid) => pid !== first);
  const shared = signs.otherPid !== null && signs.backendPids.includes(signs.otherPid);
  if (moved || shared) {
    return failed(
      'TRANSACTION_POOLER',
      `${host}:${port} is a transaction pooler: the server process behind one connection changes between transactions, which breaks snapshots, COPY and session settings.`,
      remedy,
    );
  }
  if (signs.snapshotRefusal !== null && signs.snapshotRefusal !== '') {
    return failed(
      'TRANSACTION_POOLER',
      `${host}:${port} spreads connections over several servers: a snapshot of one connection is unknown to the next (${signs.snapshotRefusal}).`,
      `Use the address of one server as the ${signs.side}, not that of a load balancer or pooler.`,
    );
  }
  if (signs.announcedPid === first) return passed('A direct connection: each session has a server process of its own.');
  if (looksLikeTransactionPooler(host, port)) {
    return failed(
      'TRANSACTION_POOLER',
      `${host}:${port} is the address of a transaction pooler, and a pooler answers there.`,
      remedy,
    );
  }
  return warned(
    `A pooler or proxy stands before the server; it seems to keep one server process a session${signs.otherPid === null ? ' (no second connection was free to make sure)' : ''}.`,
    remedy,
  );
}

const BACKEND_PID = 'SELECT pg_backend_pid() AS pid';
const SNAPSHOT_READER = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY';

async function backendPid(session: Database['session']): Promise<number> {
  const [row] = await session.query<{ pid: number }>(BACKEND_PID);
  return row?.pid ?? 0;
}

/** Opens a second session where the limits leave room for it, and looks from there. */
async function readSigns(database: Database, scope: Scope): Promise<PoolerSigns> {
  const { session, settings, side } = database;
  const room = connectionsAvailable(await readConnectionUse(database)) - 1;
  const backendPids = [await backendPid(session), await backendPid(session)];
  // The session's own figure is that of its server process; here it is the startup message's that counts.
  const announced: unknown = Reflect.get(session.client, 'processID');
  const announcedPid = typeof announced === 'number' ? announced : session.processId;
  const base = { side, host: settings.host, port: settings.port, announcedPid };
  if (room < 1) return { ...base, backendPids, otherPid: null, snapshotRefusal: null };
  const other = await openSession(settings, { signal: scope.signal, side, purpose: 'check', readOnly: true });
  try {
    await other.run('BEGIN READ ONLY');
    const otherPid = await backendPid(other);
    backendPids.push(await backendPid(session));
    await other.run('ROLLBACK');
    const snapshotRefusal = side === 'source' ? await tryExportedSnapshot(session, other) : null;
    return { ...base, backendPids, otherPid, snapshotRefusal };
  } finally {
    await other.close();
  }
}

/** Empty when `other` can read under a snapshot of `session`, else the server's words. */
async function tryExportedSnapshot(session: Database['session'], other: Database['session']): Promise<string> {
  await session.run(SNAPSHOT_READER);
  try {
    const [row] = await session.query<{ id: string }>('SELECT pg_export_snapshot() AS id');
    // The id is hexadecimal digits and dashes, made by the server.
    await other.run(`${SNAPSHOT_READER}; SET TRANSACTION SNAPSHOT '${row?.id ?? ''}'`);
    await other.run('ROLLBACK');
    return '';
  } catch (error) {
    if (session.lost || other.lost) throw error;
    return error instanceof Error ? error.message : String(error);
  } finally {
    if (!session.lost) await session.run('ROLLBACK');
  }
}

export const poolerCheck: Check = {
  id: 'connect.pooler',
  severity: 'blocks',
  title: 'No transaction pooler or load balancer stands between us and the servers.',
  alone: true,
  needs: 'each',
  run: async (database, scope) => judgePooler(await readSigns(database, scope)),
};
