import { NOTHING_EXCLUDED, readExcluded } from '../postgres/excluded.ts';
import type { Excluded } from '../postgres/excluded.ts';
import { compareExtensionVersions, planExtensions, readInstalled, readOffered } from '../postgres/extensions.ts';
import type { ExtensionPlan, InstalledExtension, OfferedExtension } from '../postgres/extensions.ts';
import { qualified, quoteIdent } from '../postgres/quote.ts';
import { failed, informed, passed, skipped, warned } from './check.ts';
import type { Check, RemedyPart, Verdict } from './check.ts';
import { perDatabase } from './database.ts';
import type { Database } from './database.ts';
import { picksOut } from './scope.ts';
import { count, listNames } from './words.ts';

/** What the target lets this role install. */
export interface InstallRights {
  readonly role: string;
  readonly superuser: boolean;
  /** Member of a provider's admin role, which may install what the provider allows. */
  readonly admin: boolean;
  readonly createInDatabase: boolean;
  readonly database: string;
  /** Libraries the target has preloaded; null where the role may not see them. */
  readonly preloaded: readonly string[] | null;
  /** A setting that lists what may be installed; null where there is none. */
  readonly allowlist: { readonly setting: string; readonly names: readonly string[] } | null;
  /** Extensions that a library lets any role install although they need a superuser. */
  readonly privileged: readonly string[];
}

export interface ExtensionInput {
  readonly source: readonly InstalledExtension[];
  readonly offered: readonly OfferedExtension[];
  readonly plans: readonly ExtensionPlan[];
  readonly rights: InstallRights;
  /** True when filters leave CREATE EXTENSION out of the job: what the objects need must be there already. */
  readonly leftOut: boolean;
  /** The target's own extensions of the role are dropped before. */
  readonly replace: boolean;
  /** An older major was asked for, and with it come older extensions. */
  readonly allowOlder: boolean;
  /** Extensions whose members have dependents on the source: these name the schema that the members stand in. */
  readonly used: readonly string[];
  /** Configuration tables of the target that hold rows of users already. */
  readonly filled: readonly { readonly extension: string; readonly table: string; readonly condition: string }[];
}

/** The server refuses CREATE EXTENSION unless it has loaded these at its start. */
const refusedUnloaded: ReadonlySet<string> = new Set(['timescaledb', 'citus', 'pg_cron', 'pgaudit']);
/** These can be made, and do nothing until then. */
const idleUnloaded: ReadonlySet<string> = new Set(['pg_squeeze', 'pg_net', 'pg_stat_statements']);

const order = [
  'EXTENSION_UNAVAILABLE',
  'EXTENSION_TOO_OLD',
  'EXTENSION_NOT_ALLOWED',
  'EXTENSION_NOT_PRELOADED',
  'EXTENSION_ELSEWHERE',
  'EXTENSION_ROWS_PRESENT',
] as const;

interface Trouble {
  readonly code: (typeof order)[number];
  readonly words: string;
  readonly remedy: readonly RemedyPart[];
}

function unavailable({ name, version }: InstalledExtension): Trouble {
  return {
    code: 'EXTENSION_UNAVAILABLE',
    words: `${name} ${version} is not available on the target`,
    remedy: [
      {
        text: `-- ${name}: install its package on the target's machine or allow it in the provider's settings`,
        need: 'create-extension',
        values: { extension: name },
      },
      { text: `-- or leave it out with what depends on it: --exclude-extension ${name}` },
    ],
  };
}

/** An extension that the target database has before the job. */
function troubleOfInstalled(
  { name, version, schema }: InstalledExtension,
  offer: OfferedExtension,
  has: NonNullable<OfferedExtension['installed']>,
  input: ExtensionInput,
): Trouble | null {
  const quoted = quoteIdent(name);
  const updates = input.plans.some((plan) => plan.name === name && plan.update);
  const arrives = updates ? offer.defaultVersion : has.version;
  if (compareExtensionVersions(arrives, version) < 0 && !input.allowOlder) {
    const possible = compareExtensionVersions(offer.defaultVersion, version) >= 0;
    return {
      code: 'EXTENSION_TOO_OLD',
      words: `${name} is ${version} on the source, ${has.version} on the target`,
      remedy: [
        {
          text: possible
            ? `ALTER EXTENSION ${quoted} UPDATE; -- on the target`
            : `-- ${name}: install version ${version} or newer on the target's machine`,
        },
      ],
    };
  }
  if (has.schema !== schema && input.used.includes(name)) {
    return {
      code: 'EXTENSION_ELSEWHERE',
      words: `${name} stands in the schema ${has.schema} on the target, in ${schema} on the source, and objects name it there`,
      remedy: [
        {
          text: has.relocatable
            ? `ALTER EXTENSION ${quoted} SET SCHEMA ${quoteIdent(schema)}; -- on the target`
            : `DROP EXTENSION ${quoted}; -- on the target: the job installs it where the source has it`,
        },
      ],
    };
  }
  return null;
}

function notAllowed(name: string, words: string, text: string): Trouble {
  return {
    code: 'EXTENSION_NOT_ALLOWED',
    words: `${name} ${words}`,
    remedy: [{ text, need: 'create-extension', values: { extension: name } }],
  };
}

function troubleOf(extension: InstalledExtension, input: ExtensionInput): Trouble | null {
  const { rights } = input;
  const { name, version } = extension;
  const offer = input.offered.find((o) => o.name === name);
  if (offer === undefined) return unavailable(extension);
  const kept = offer.installed !== null && !(input.replace && offer.installed.ours) ? offer.installed : null;
  if (kept !== null) return troubleOfInstalled(extension, offer, kept, input);
  const quoted = quoteIdent(name);
  const plan = input.plans.find((p) => p.name === name);
  if (plan?.version === null && offer.installed === null && !input.allowOlder) {
    return {
      code: 'EXTENSION_TOO_OLD',
      words: `${name} is ${version} on the source, ${offer.defaultVersion} on the target`,
      remedy: [{ text: `-- ${name}: install version ${version} or newer on the target's machine` }],
    };
  }
  if (input.leftOut) return null;
  const { allowlist } = rights;
  if (allowlist !== null && !allowlist.names.includes('*') && !allowlist.names.includes(name.toLowerCase())) {
    return notAllowed(
      name,
      `is not in the target's setting ${allowlist.setting}`,
      `-- add ${name} to ${allowlist.setting} in the settings of the target's provider`,
    );
  }
  if (rights.preloaded !== null && refusedUnloaded.has(name) && !rights.preloaded.includes(name)) {
    return {
      code: 'EXTENSION_NOT_PRELOADED',
      words: `${name} can be installed only where the server has loaded it at its start`,
      remedy: [{ text: preload(rights.preloaded, [name]) }],
    };
  }
  if (rights.superuser) return null;
  const chosen = offer.versions.find((one) => one.version === (plan?.version ?? offer.defaultVersion)) ?? {
    superuser: true,
    trusted: false,
  };
  if (chosen.superuser && !chosen.trusted && !rights.admin && !rights.privileged.includes(name)) {
    return {
      code: 'EXTENSION_NOT_ALLOWED',
      words: `${name} can be installed by a superuser only`,
      remedy: [
        { text: `CREATE EXTENSION ${quoted}; -- on the target, as a superuser` },
        { text: `-- or leave it out with what depends on it: --exclude-extension ${name}` },
      ],
    };
  }
  if (!rights.createInDatabase) {
    return {
      code: 'EXTENSION_NOT_ALLOWED',
      words: `${name} needs CREATE on the database to be installed`,
      remedy: [{ text: `GRANT CREATE ON DATABASE ${quoteIdent(rights.database)} TO ${quoteIdent(rights.role)};` }],
    };
  }
  return null;
}

function preload(loaded: readonly string[], names: readonly string[]): string {
  return `ALTER SYSTEM SET shared_preload_libraries = '${[...loaded, ...names].join(',')}'; -- then restart the target`;
}

function rowsPresent(input: ExtensionInput): Trouble[] {
  return input.filled.map(({ extension, table, condition }) => ({
    code: 'EXTENSION_ROWS_PRESENT',
    words: `the target's ${table}, a configuration table of ${extension}, has rows of its own, beside which the source's cannot be put`,
    remedy: [{ text: `DELETE FROM ${table}${condition === '' ? '' : ` ${condition}`}; -- on the target` }],
  }));
}

function olderWords(wanted: readonly InstalledExtension[], input: ExtensionInput): string[] {
  return wanted.flatMap(({ name, version }) => {
    const offer = input.offered.find((one) => one.name === name);
    const arrives =
      offer?.installed?.version ?? input.plans.find((p) => p.name === name)?.version ?? offer?.defaultVersion;
    return arrives !== undefined && compareExtensionVersions(arrives, version) < 0
      ? [`${name} is ${version} on the source, ${arrives} on the target`]
      : [];
  });
}

export function judgeExtensions(input: ExtensionInput): Verdict {
  const wanted = input.source.filter((e) => e.name !== 'plpgsql');
  if (wanted.length === 0) return passed('The source has no extension but plpgsql.');
  const troubles = [
    ...wanted.map((e) => troubleOf(e, input)).filter((t) => t !== null),
    ...(input.leftOut ? [] : rowsPresent(input)),
  ];
  const worst = order.find((code) => troubles.some((t) => t.code === code));
  if (worst !== undefined) {
    const found = `${troubles.map((t) => t.words).join('; ')}.`;
    const remedy = troubles.flatMap((t) => t.remedy);
    return input.leftOut
      ? warned(`${found} The filters leave extensions out; it matters only if the chosen tables need them.`, remedy)
      : failed(worst, found, remedy);
  }
  const { preloaded } = input.rights;
  const unloaded = wanted
    .map(({ name }) => name)
    .filter((name) => (idleUnloaded.has(name) || refusedUnloaded.has(name)) && preloaded?.includes(name) === false);
  if (unloaded.length > 0) {
    return warned(
      `The target has not loaded ${listNames(unloaded)} at its start, which ${unloaded.length === 1 ? 'it needs' : 'they need'}.`,
      preload(preloaded ?? [], unloaded),
    );
  }
  const older = olderWords(wanted, input);
  if (older.length > 0)
    return warned(
      `${older.join('; ')}: what only the newer version has is missing there.`,
      'Try what uses them on the target before the application is pointed there.',
    );
  const notes = input.plans.map(({ note }) => note).filter((note) => note !== '');
  const updated = input.plans.filter((plan) => plan.update).map((plan) => plan.name);
  const update = updated.length === 0 ? '' : ` Updated to the newest version at the end: ${listNames(updated)}.`;
  if (notes.length > 0) return informed(`${notes.join(' ')}${update}`);
  return passed(`All are available on the target: ${listNames(wanted.map((e) => `${e.name} ${e.version}`))}.${update}`);
}

/** How many names of what is left out are told by a check; the log of the job has all of them. */
const TOLD = 500;

/** What stays behind with the extensions that are left out. Pure. */
export function judgeExcluded(excluded: Excluded, globs: readonly string[]): Verdict {
  if (globs.length === 0) return passed('No extension is left out.');
  if (excluded.extensions.length === 0)
    return warned(
      `No extension of the source matches --exclude-extension ${listNames(globs)}.`,
      'Give the name as the source has it: SELECT extname FROM pg_extension;',
    );
  const left = `Left out: ${count(excluded.extensions.length, 'extension')} ${listNames(excluded.extensions)}`;
  if (excluded.names.length === 0)
    return informed(`${left}. Nothing depends on ${excluded.extensions.length === 1 ? 'it' : 'them'}.`);
  return warned(
    `${left}, and with ${excluded.extensions.length === 1 ? 'it' : 'them'} what depends on ${excluded.extensions.length === 1 ? 'it' : 'them'} (${excluded.names.length}): ${listNames(excluded.names, TOLD)}.`,
    'Nothing, if you can do without these; else make the extension available on the target.',
  );
}

/** A live job follows whole tables: none may lose a column or be left behind, `configuration` of the extensions included. Pure. */
export function judgeExcludedLive(excluded: Excluded, configuration: readonly string[] = []): Verdict {
  const own = excluded.names.filter((name) => /^(table|table column|foreign table) /.test(name));
  const tables = [...own, ...configuration];
  if (tables.length === 0) return passed('No table or column is left out with an extension.');
  return failed(
    'EXTENSION_EXCLUDED_LIVE',
    `The extensions that are left out take tables or columns with them, which cannot be left out of the changes that are followed: ${listNames(tables)}.`,
    '-- take --method copy, or leave those tables out: --exclude-table',
  );
}

const ADMINS = ['rds_superuser', 'azure_pg_admin', 'cloudsqlsuperuser', 'alloydbsuperuser', 'neon_superuser'];
/** Settings that list what may be installed; an empty one allows nothing on Azure and says nothing elsewhere. */
const ALLOWLISTS = ['azure.extensions', 'rds.allowed_extensions'];
/** Settings of libraries that install for a role what needs a superuser. */
const PRIVILEGED = ['extwlist.extensions', 'supautils.privileged_extensions'];

const RIGHTS = `
SELECT has_database_privilege(current_database(), 'CREATE') AS "createInDatabase",
  (SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries') AS preloaded,
  EXISTS (SELECT FROM pg_roles WHERE rolname = ANY ($1) AND pg_has_role(oid, 'USAGE')) AS admin,
  (SELECT json_object_agg(name, current_setting(name, true)) FROM unnest($2::text[]) AS name
   WHERE current_setting(name, true) IS NOT NULL) AS settings`;

/** Extensions of which something of people's own depends on a member. */
const USED = `
SELECT DISTINCT e.extname::text AS name FROM pg_extension e
JOIN pg_depend m ON m.refclassid = 'pg_extension'::regclass AND m.refobjid = e.oid AND m.deptype = 'e'
JOIN pg_depend d ON d.refclassid = m.classid AND d.refobjid = m.objid AND d.deptype IN ('n', 'a')
WHERE NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = d.classid AND x.objid = d.objid AND x.deptype IN ('e', 'i'))`;

const CONFIGURATION = `
SELECT e.extname::text AS extension, n.nspname::text AS schema, c.relname::text AS name, g.condition
FROM pg_extension e, LATERAL unnest(e.extconfig, e.extcondition) AS g(oid, condition), pg_class c, pg_namespace n
WHERE e.extname = ANY ($1) AND c.oid = g.oid AND n.oid = c.relnamespace AND c.relkind = 'r'
  AND has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')`;

const namesIn = (setting: string): string[] =>
  setting
    .toLowerCase()
    .split(/[\s,]+/)
    .filter((name) => name !== '');

/** What the role may install there; a database that it makes is its own. */
export async function readInstallRights(target: Database): Promise<InstallRights> {
  const row = await target.one<{
    createInDatabase: boolean;
    preloaded: string | null;
    admin: boolean;
    settings: Record<string, string> | null;
  }>(RIGHTS, [ADMINS, [...ALLOWLISTS, ...PRIVILEGED]]);
  const { settings } = row;
  const setting = ALLOWLISTS.find((name) =>
    name === 'azure.extensions' ? settings?.[name] !== undefined : (settings?.[name] ?? '') !== '',
  );
  return {
    role: target.identity.role,
    superuser: target.identity.superuser,
    admin: row.admin,
    createInDatabase: row.createInDatabase || target.absent,
    database: target.identity.database,
    preloaded: row.preloaded === null ? null : namesIn(row.preloaded),
    allowlist: setting === undefined ? null : { setting, names: namesIn(settings?.[setting] ?? '') },
    privileged: PRIVILEGED.flatMap((name) => namesIn(settings?.[name] ?? '')),
  };
}

/** Configuration tables of these extensions that hold rows of users on the target. */
export async function readFilled(target: Database, names: readonly string[]): Promise<ExtensionInput['filled']> {
  const tables = await target.session.query<{ extension: string; schema: string; name: string; condition: string }>(
    CONFIGURATION,
    [names],
  );
  const filled: { extension: string; table: string; condition: string }[] = [];
  for (const { extension, schema, name, condition } of tables) {
    const table = qualified(schema, name);
    const rows = await target.session.query(`SELECT FROM ONLY ${table} ${condition} LIMIT 1`);
    if (rows.length > 0) filled.push({ extension, table, condition });
  }
  return filled;
}

/** In a database that does not exist yet nothing is installed, whatever stands in the one that is asked. */
export async function offeredBy(target: Database, names: readonly string[]): Promise<OfferedExtension[]> {
  const offered = await readOffered(target.session, names);
  return target.absent ? offered.map((offer) => ({ ...offer, installed: null })) : offered;
}

/** Read once for both checks that tell of it; the globs are those of one validation. */
const readLeftOut = perDatabase((database) => {
  const known = new Map<string, Promise<Excluded>>();
  return Promise.resolve((globs: readonly string[]): Promise<Excluded> => {
    const key = JSON.stringify(globs);
    const value = known.get(key) ?? readExcluded(database.session, globs);
    known.set(key, value);
    return value;
  });
});

const excludedOf = async (source: Database, globs: readonly string[]): Promise<Excluded> =>
  globs.length === 0 ? NOTHING_EXCLUDED : (await readLeftOut(source))(globs);

export const extensionsCheck: Check = {
  id: 'objects.extensions',
  severity: 'blocks',
  title: 'Every extension of the source is available on the target, new enough, and may be installed.',
  needs: 'both',
  side: 'target',
  run: async (source, target, { options, ownTarget }) => {
    if (options.dataOnly) return skipped('The job moves data only: no extension is installed.');
    const excluded = await excludedOf(source, options.excludeExtension);
    const installed = (await readInstalled(source.session)).filter(({ name }) => !excluded.extensions.includes(name));
    const names = installed.map(({ name }) => name);
    const offered = await offeredBy(target, names);
    const leftOut = picksOut(options);
    // What the job drops or made itself is in nobody's way.
    const standing = offered.flatMap(({ name, installed: has }) =>
      has === null || ownTarget || (options.replace && has.ours) ? [] : [name],
    );
    const fresh = offered.map((offer) =>
      options.replace && offer.installed?.ours === true ? { ...offer, installed: null } : offer,
    );
    return judgeExtensions({
      source: installed,
      offered: fresh,
      plans: planExtensions(installed, fresh, options.extensionVersion),
      rights: await readInstallRights(target),
      leftOut,
      replace: options.replace,
      allowOlder: options.allowDowngrade && target.version.major < source.version.major,
      used: (await source.session.query<{ name: string }>(USED)).map(({ name }) => name),
      filled: options.schemaOnly || standing.length === 0 ? [] : await readFilled(target, standing),
    });
  },
};

export const excludedExtensionsCheck: Check = {
  id: 'objects.excluded-extensions',
  severity: 'warns',
  title: 'What stays behind with the extensions that are left out.',
  needs: 'source',
  run: async (source, { options }) => {
    if (options.excludeExtension.length === 0) return skipped('No extension is to be left out.');
    return judgeExcluded(await excludedOf(source, options.excludeExtension), options.excludeExtension);
  },
};

export const excludedLiveCheck: Check = {
  id: 'live.excluded-extensions',
  severity: 'blocks',
  title: 'No table or column that is followed is left out with an extension.',
  needs: 'source',
  run: async (source, { options }) => {
    const excluded = await excludedOf(source, options.excludeExtension);
    if (excluded.extensions.length === 0) return judgeExcludedLive(excluded);
    const tables = await source.session.query<{ schema: string; name: string }>(CONFIGURATION, [excluded.extensions]);
    return judgeExcludedLive(
      excluded,
      tables.map(({ schema, name }) => `table ${qualified(schema, name)}`),
    );
  },
};
