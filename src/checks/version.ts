import { PgsluiceError } from '../errors.ts';
import { findPgTools } from '../postgres/tools.ts';
import type { PgTools } from '../postgres/tools.ts';
import type { ServerVersion } from '../postgres/version.ts';
import { failed, informed, passed, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { downgradeCheck } from './downgrade.ts';

/** The catalogue this agent reads exists from here on. */
export const OLDEST_MAJOR = 10;
/** Every release of pgsluice is tested against these. */
const TESTED = { oldest: 14, newest: 18 } as const;

export function judgeMajors(source: ServerVersion, target: ServerVersion, allowDowngrade: boolean): Verdict {
  if (target.major < source.major && allowDowngrade) {
    return warned(
      `The target runs PostgreSQL ${target.text}, older than the source's ${source.text}, as the job allows.`,
      'Read what version.downgrade says, and try the application on the target before you point it there.',
    );
  }
  if (target.major < source.major) {
    return failed(
      'TARGET_OLDER',
      `The target runs PostgreSQL ${target.text}, older than the source's ${source.text}; what a newer major writes, an older one may not understand.`,
      `Create the target with PostgreSQL ${source.major} or newer, or give --allow-downgrade.`,
    );
  }
  return passed(
    target.major === source.major
      ? `Both run PostgreSQL ${source.major} (${source.text} and ${target.text}).`
      : `From PostgreSQL ${source.text} to ${target.text}.`,
  );
}

/** Servers that speak the protocol and are not PostgreSQL, or are changed deeply; `version()` names them. */
const forks: readonly (readonly [RegExp, string])[] = [
  [/CockroachDB/i, 'CockroachDB'],
  [/-YB-|Yugabyte/i, 'YugabyteDB'],
  [/Greenplum/i, 'Greenplum'],
  [/Redshift/i, 'Amazon Redshift'],
  [/EnterpriseDB|EDB/i, 'EDB Postgres Advanced Server'],
  [/openGauss|GaussDB/i, 'GaussDB'],
  [/Materialize/i, 'Materialize'],
];

/** Name of the fork, or null for PostgreSQL itself. */
export function forkOf(full: string): string | null {
  const known = forks.find(([pattern]) => pattern.test(full));
  if (known !== undefined) return known[1];
  return full.startsWith('PostgreSQL ') ? null : (full.split(/\s/, 1)[0] ?? full);
}

export function judgeSupported(side: 'source' | 'target', version: ServerVersion): Verdict {
  if (version.major < OLDEST_MAJOR) {
    return failed(
      'UNSUPPORTED_VERSION',
      `The ${side} runs PostgreSQL ${version.text}; pgsluice reads the catalogue of ${OLDEST_MAJOR} and newer.`,
      `Upgrade the ${side} to PostgreSQL ${OLDEST_MAJOR} or newer first, for instance with pg_dump and pg_restore.`,
    );
  }
  const fork = forkOf(version.full);
  if (fork !== null) {
    return warned(
      `The ${side} is ${fork} (${version.text}), not PostgreSQL itself: what it changed is not known here.`,
      'Try it on a copy first and read the verification.',
    );
  }
  if (version.major < TESTED.oldest || version.major > TESTED.newest) {
    return informed(`PostgreSQL ${version.text} is outside of what is tested (${TESTED.oldest} to ${TESTED.newest}).`);
  }
  return passed(`PostgreSQL ${version.text}.`);
}

const servers: Check = {
  id: 'version.servers',
  severity: 'blocks',
  title: 'The target is not older than the source.',
  needs: 'both',
  side: 'both',
  run: (source, target, { options }) =>
    Promise.resolve(judgeMajors(source.version, target.version, options.allowDowngrade)),
};

const supported: Check = {
  id: 'version.supported',
  severity: 'blocks',
  title: 'Both servers are of a version this agent knows.',
  needs: 'each',
  run: (database) => Promise.resolve(judgeSupported(database.side, database.version)),
};

export const versionChecks: readonly Check[] = [servers, downgradeCheck, supported];

export type ToolSearch = { readonly tools: PgTools } | { readonly error: PgsluiceError };

/** pg_dump must not be older than the source, pg_restore not older than the target (PostgreSQL documentation, pg_dump, "Notes"). */
export async function searchTools(binDir: string | null, majors: readonly number[]): Promise<ToolSearch> {
  try {
    return { tools: await findPgTools({ binDir, minMajor: Math.max(...majors) }) };
  } catch (error) {
    if (error instanceof PgsluiceError) return { error };
    throw error;
  }
}

export const TOOLS_CHECK = {
  id: 'version.tools',
  title: 'pg_dump and pg_restore are on this machine and not older than either server.',
} as const;

export function judgeTools(search: ToolSearch): Verdict {
  if ('error' in search) return failed(search.error.code, search.error.message, search.error.hint);
  return passed(`pg_dump and pg_restore ${search.tools.version} in ${search.tools.dir}.`);
}
