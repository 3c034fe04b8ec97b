import type { Session } from './session.ts';

export interface ServerVersion {
  /** `server_version_num`, for instance 150018. */
  readonly num: number;
  readonly major: number;
  /** What people call it, for instance `15.18` or `18beta1`. */
  readonly text: string;
  /** The whole answer of `version()`, which names platform and vendor. */
  readonly full: string;
}

/** Takes `server_version_num`, `server_version` and `version()` apart. */
export function parseServerVersion(num: string, serverVersion: string, full: string): ServerVersion {
  const number = Number.parseInt(num, 10);
  // Distributions append their own words: `15.18 (Debian 15.18-0+deb12u1)`.
  const text = serverVersion.trim().split(/\s+/, 1)[0] ?? serverVersion;
  return { num: number, major: Math.floor(number / 10_000), text, full };
}

/** Reads the version of the server at the other end. */
export async function readServerVersion(session: Session): Promise<ServerVersion> {
  const rows = await session.query<{ num: string; short: string; full: string }>(
    `select current_setting('server_version_num') as num, current_setting('server_version') as short, version() as full`,
  );
  const row = rows[0];
  if (row === undefined) throw new Error('a select without FROM returned no row');
  return parseServerVersion(row.num, row.short, row.full);
}
