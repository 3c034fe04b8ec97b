import { z } from '@hono/zod-openapi';
import { JobOptions, verifyModes } from './options.ts';

/** File of the archive's directory; written last, so that a directory without it is a plain pg_dump archive. */
export const manifestName = 'manifest.json';
/** What this version writes, and the newest that it reads. */
export const manifestFormat = 1;

/** How rows become numbers: src/verify/checksum.ts. */
export const checksumMethods = ['hash', 'md5', 'md5 utf8'] as const;

/** One column as the checksum took it, in this order. */
export const ManifestColumn = z.object({
  name: z.string(),
  type: z.string(),
  kind: z.string(),
  builtIn: z.boolean(),
  digest: z.boolean().optional(),
});

/** One relation whose rows are in the archive, as the source measured it under the archive's snapshot. */
export const ManifestTable = z.object({
  schema: z.string(),
  name: z.string(),
  kind: z.enum(['table', 'materialized view']),
  /** True: rows of the whole partition tree; false: the relation's own, its partitions and children apart. */
  tree: z.boolean(),
  /** `WHERE …` of an extension's configuration table; '' for all rows. */
  condition: z.string(),
  /** null where nothing was counted. */
  rows: z.number().int().nonnegative().nullable(),
  /** Main and TOAST forks on the source. */
  bytes: z.number().nonnegative(),
  /** null where only rows were counted. */
  checksum: z.string().nullable(),
  /** Columns that took part in the checksum; empty without one. */
  columns: z.array(ManifestColumn),
});
export type ManifestTable = z.infer<typeof ManifestTable>;

/** As the archive sets it, which may be ahead of its rows and never behind. */
export const ManifestSequence = z.object({
  schema: z.string(),
  name: z.string(),
  /** Decimal digits: a bigint. */
  value: z.string().regex(/^-?\d+$/),
  isCalled: z.boolean(),
});
export type ManifestSequence = z.infer<typeof ManifestSequence>;

/** A role that owns something in the database or is named in its grants, and what it is a member of. No password. */
export const ManifestRole = z.object({
  name: z.string(),
  attributes: z.object({
    login: z.boolean(),
    inherit: z.boolean(),
    createdb: z.boolean(),
    createrole: z.boolean(),
    superuser: z.boolean(),
    replication: z.boolean(),
    bypassrls: z.boolean(),
    /** -1: no limit. */
    connectionLimit: z.number().int(),
    /** ISO; null: for ever. */
    validUntil: z.string().nullable(),
  }),
  memberOf: z.array(z.string()),
  /** The same with their options; null in them on servers that have none. */
  memberships: z.array(
    z.object({
      role: z.string(),
      admin: z.boolean(),
      inherit: z.boolean().nullable(),
      set: z.boolean().nullable(),
    }),
  ),
  /** `name=value` of ALTER ROLE … SET, and of ALTER ROLE … IN DATABASE … SET for this database. */
  settings: z.array(z.string()),
  databaseSettings: z.array(z.string()),
  comment: z.string().nullable(),
});
export type ManifestRole = z.infer<typeof ManifestRole>;

export const ManifestFile = z.object({
  /** Relative to the archive; never leaves it. */
  path: z
    .string()
    .min(1)
    .refine((path) => !path.startsWith('/') && !path.split('/').includes('..') && !path.includes('\0'), {
      error: 'a path in the manifest leaves the archive',
    }),
  bytes: z.number().int().nonnegative(),
  /** Lower-case hex. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
export type ManifestFile = z.infer<typeof ManifestFile>;

/** What stands in manifest.json of an archive that pgsluice has written. Holds no password. */
export const Manifest = z.object({
  format: z.literal(manifestFormat),
  tool: z.object({ name: z.literal('pgsluice'), version: z.string() }),
  /** ISO, UTC: when the archive was complete. */
  createdAt: z.string(),
  /** ISO, UTC, the source's clock: the moment that rows and definitions are of. */
  snapshotAt: z.string(),
  source: z.object({
    version: z.object({ num: z.number().int(), text: z.string() }),
    database: z.string(),
    /** host:port/database. */
    label: z.string(),
    systemIdentifier: z.string().nullable(),
    encoding: z.string(),
    /** `libc`, `icu` or `builtin`. */
    localeProvider: z.string(),
    collate: z.string(),
    ctype: z.string(),
    /** Of ICU or the builtin provider; null for libc. */
    locale: z.string().nullable(),
    icuRules: z.string().nullable(),
    collationVersion: z.string().nullable(),
    /** In force while the archive was written: values of type money are printed by it. */
    lcMonetary: z.string(),
    owner: z.string(),
    comment: z.string().nullable(),
    /** `name=value` of ALTER DATABASE … SET. */
    settings: z.array(z.string()),
    /** -1: no limit. Manifests of earlier versions have neither this nor what follows. */
    connectionLimit: z.number().int().optional(),
    /** null: the rights that every database starts with; a grantee of null is PUBLIC. */
    grants: z
      .array(z.object({ grantee: z.string().nullable(), privilege: z.string(), grantable: z.boolean() }))
      .nullable()
      .optional(),
    /** Of the indexes of all tables in the archive. */
    indexBytes: z.number().nonnegative().optional(),
  }),
  pgDump: z.object({ version: z.string(), major: z.number().int() }),
  /** pg_dump's word: `zstd`, `gzip:6`, `none` … */
  compression: z.string(),
  /** The options that decide what is in the archive. */
  options: z.object(JobOptions.shape).pick({
    includeSchema: true,
    excludeSchema: true,
    includeTable: true,
    excludeTable: true,
    excludeTableData: true,
    noOwner: true,
    noAcl: true,
    schemaOnly: true,
    dataOnly: true,
  }),
  /** What was measured of the source: nothing, row counts, or counts and checksums. */
  measured: z.enum(verifyModes),
  checksums: z.object({
    /** null where there are none. */
    method: z.enum(checksumMethods).nullable(),
    /** What the source answered to HASH_PROBE: a server that answers otherwise cannot be compared by `hash`. */
    probe: z.string().nullable(),
  }),
  tables: z.array(ManifestTable),
  sequences: z.array(ManifestSequence),
  /** null where they are not part of the archive. */
  largeObjects: z.object({ count: z.number().int(), bytes: z.number(), checksum: z.string().nullable() }).nullable(),
  roles: z.array(ManifestRole),
  extensions: z.array(z.object({ name: z.string(), version: z.string(), schema: z.string() })),
  /** Applications that were recognised by their table of migrations, with the newest version in it. */
  applications: z.array(z.object({ name: z.string(), table: z.string(), version: z.string().nullable() })).optional(),
  /** Sentences about what is in the archive and was not measured, each with its reason. */
  notMeasured: z.array(z.string()),
  /** Every file of the archive but the manifest itself. */
  files: z.array(ManifestFile),
});
export type Manifest = z.infer<typeof Manifest>;
