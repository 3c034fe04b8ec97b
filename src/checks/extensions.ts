import { quoteIdent } from '../postgres/quote.ts';
import { failed, passed, skipped, warned } from './check.ts';
import type { Check, RemedyPart, Verdict } from './check.ts';
import { picksOut } from './scope.ts';
import { listNames } from './words.ts';

export interface SourceExtension {
  readonly name: string;
  readonly version: string;
}

/** An extension as the target offers it. */
export interface OfferedExtension {
  readonly name: string;
  readonly defaultVersion: string;
  /** Null when it is not installed in the target database. */
  readonly installedVersion: string | null;
  /** False: any role with CREATE on the database may install it, as far as its files go. */
  readonly needsSuperuser: boolean;
  /** True (13 and newer): a role with CREATE on the database may install it although its script needs a superuser. */
  readonly trusted: boolean;
}

export interface ExtensionInput {
  readonly source: readonly SourceExtension[];
  readonly offered: readonly OfferedExtension[];
  readonly role: string;
  readonly superuser: boolean;
  readonly createInDatabase: boolean;
  readonly database: string;
  /** Libraries the target has preloaded; null where the role may not see them. */
  readonly preloaded: readonly string[] | null;
  /** True when filters leave CREATE EXTENSION out of the job: what the objects need must be there already. */
  readonly leftOut: boolean;
}

/** CREATE EXTENSION refuses these, or they do nothing, unless the server has loaded them at its start. */
const mustBePreloaded: ReadonlySet<string> = new Set([
  'timescaledb',
  'citus',
  'pg_cron',
  'pgaudit',
  'pg_squeeze',
  'pg_net',
]);

/** The parts of a version that is digits, dots and dashes; null for any other. */
function numbers(text: string): number[] | null {
  const parts = text.split(/[.-]/);
  return parts.every((part) => /^\d+$/.test(part)) ? parts.map(Number) : null;
}

/** Below 0: `a` is older. 0 when equal or not comparable: version texts are free (PostgreSQL documentation, 36.17). */
export function compareExtensionVersions(a: string, b: string): number {
  const left = numbers(a);
  const right = numbers(b);
  if (left === null || right === null) return 0;
  for (let i = 0; i < Math.max(left.length, right.length); i += 1) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

interface Trouble {
  readonly code: 'EXTENSION_UNAVAILABLE' | 'EXTENSION_TOO_OLD' | 'EXTENSION_NOT_ALLOWED';
  readonly words: string;
  readonly remedy: readonly RemedyPart[];
}

function troubleOf(extension: SourceExtension, input: ExtensionInput): Trouble | null {
  const offer = input.offered.find((o) => o.name === extension.name);
  const name = quoteIdent(extension.name);
  if (offer === undefined) {
    return {
      code: 'EXTENSION_UNAVAILABLE',
      words: `${extension.name} ${extension.version} is not available on the target`,
      remedy: [
        {
          text: `-- ${extension.name}: install its package on the target's machine or allow it in the provider's settings`,
          need: 'create-extension',
          values: { extension: extension.name },
        },
        { text: `-- or, if nothing needs it, on the source: DROP EXTENSION ${name};` },
      ],
    };
  }
  const arrives = offer.installedVersion ?? offer.defaultVersion;
  if (compareExtensionVersions(arrives, extension.version) < 0) {
    return {
      code: 'EXTENSION_TOO_OLD',
      words: `${extension.name} is ${extension.version} on the source, ${arrives} on the target`,
      remedy: [
        {
          text:
            offer.installedVersion !== null && compareExtensionVersions(offer.defaultVersion, extension.version) >= 0
              ? `ALTER EXTENSION ${name} UPDATE; -- on the target`
              : `-- ${extension.name}: install version ${extension.version} or newer on the target's machine`,
        },
      ],
    };
  }
  if (offer.installedVersion !== null || input.superuser || input.leftOut) return null;
  if (offer.needsSuperuser && !offer.trusted) {
    return {
      code: 'EXTENSION_NOT_ALLOWED',
      words: `${extension.name} can be installed by a superuser only`,
      remedy: [{ text: `CREATE EXTENSION ${name}; -- on the target, as a superuser` }],
    };
  }
  if (!input.createInDatabase) {
    return {
      code: 'EXTENSION_NOT_ALLOWED',
      words: `${extension.name} needs CREATE on the database to be installed`,
      remedy: [{ text: `GRANT CREATE ON DATABASE ${quoteIdent(input.database)} TO ${quoteIdent(input.role)};` }],
    };
  }
  return null;
}

const order = ['EXTENSION_UNAVAILABLE', 'EXTENSION_TOO_OLD', 'EXTENSION_NOT_ALLOWED'] as const;

export function judgeExtensions(input: ExtensionInput): Verdict {
  const wanted = input.source.filter((e) => e.name !== 'plpgsql');
  if (wanted.length === 0) return passed('The source has no extension but plpgsql.');
  const troubles = wanted.map((e) => troubleOf(e, input)).filter((t) => t !== null);
  const worst = order.find((code) => troubles.some((t) => t.code === code));
  if (worst !== undefined) {
    const found = `${troubles.map((t) => t.words).join('; ')}.`;
    const remedy = troubles.flatMap((t) => t.remedy);
    return input.leftOut
      ? warned(`${found} The filters leave extensions out; it matters only if the chosen tables need them.`, remedy)
      : failed(worst, found, remedy);
  }
  const unloaded = wanted.filter(
    (e) => mustBePreloaded.has(e.name) && input.preloaded !== null && !input.preloaded.includes(e.name),
  );
  if (unloaded.length > 0) {
    const names = unloaded.map((e) => e.name);
    return warned(
      `The target has not loaded ${listNames(names)} at its start, which ${names.length === 1 ? 'it needs' : 'they need'}.`,
      `ALTER SYSTEM SET shared_preload_libraries = '${[...(input.preloaded ?? []), ...names].join(',')}'; -- then restart the target`,
    );
  }
  return passed(`All are available on the target: ${listNames(wanted.map((e) => `${e.name} ${e.version}`))}.`);
}

const INSTALLED = `SELECT extname::text AS name, extversion AS version FROM pg_extension ORDER BY extname`;

/** `trusted` is read through jsonb because it exists from 13 on only. */
const OFFERED = `
SELECT a.name::text AS name, a.default_version AS "defaultVersion", e.extversion AS "installedVersion",
       COALESCE((v.j->>'superuser')::boolean, true) AS "needsSuperuser", COALESCE((v.j->>'trusted')::boolean, false) AS trusted
FROM pg_available_extensions a LEFT JOIN pg_extension e ON e.extname = a.name
LEFT JOIN LATERAL (SELECT to_jsonb(x) AS j FROM pg_available_extension_versions x WHERE x.name = a.name AND x.version = a.default_version) v ON true
WHERE a.name = ANY ($1)`;

const RIGHTS = `
SELECT has_database_privilege(current_database(), 'CREATE') AS "createInDatabase",
  (SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries') AS preloaded`;

export const extensionsCheck: Check = {
  id: 'objects.extensions',
  severity: 'blocks',
  title: 'Every extension of the source is available on the target, new enough, and may be installed.',
  needs: 'both',
  side: 'target',
  run: async (source, target, { options }) => {
    if (options.dataOnly) return skipped('The job moves data only: no extension is installed.');
    const installed = await source.session.query<SourceExtension & Record<string, unknown>>(INSTALLED);
    const offered = await target.session.query<OfferedExtension & Record<string, unknown>>(OFFERED, [
      installed.map((e) => e.name),
    ]);
    const rights = await target.one<{ createInDatabase: boolean; preloaded: string | null }>(RIGHTS);
    return judgeExtensions({
      source: installed,
      offered,
      role: target.identity.role,
      superuser: target.identity.superuser,
      createInDatabase: rights.createInDatabase,
      database: target.identity.database,
      preloaded: rights.preloaded === null ? null : rights.preloaded.split(/\s*,\s*/).filter((name) => name !== ''),
      leftOut: picksOut(options),
    });
  },
};
