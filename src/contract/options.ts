import { z } from '@hono/zod-openapi';

/** Text that PostgreSQL can hold: no zero byte, no half of a surrogate pair (PostgreSQL documentation, 24.3). */
export const StorableText = z
  .string()
  .refine((text) => !/\0|\p{Surrogate}/u.test(text), 'holds a character that PostgreSQL cannot store');

/** sslmode with libpq's meaning: `prefer` and `require` encrypt without verifying (PostgreSQL documentation, 34.19.1). */
export const sslModes = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;
export const SslMode = z.enum(sslModes).openapi('SslMode');
export type SslMode = z.infer<typeof SslMode>;

/** How one server is named in a request: a URL, or separate fields. Fields given beside a URL win over it. */
export const EndpointInput = z
  .strictObject({
    url: StorableText.optional().openapi({ example: 'postgres://app:secret@db.example.com:5432/shop?sslmode=require' }),
    host: StorableText.optional(),
    port: z.number().int().min(1).max(65535).optional(),
    user: StorableText.optional(),
    password: StorableText.optional(),
    database: StorableText.optional(),
    sslmode: SslMode.optional(),
    sslrootcert: StorableText.optional(),
  })
  .openapi('EndpointInput');
export type EndpointInput = z.infer<typeof EndpointInput>;

/** A server as the API shows it: everything but the password. */
export const EndpointView = z
  .object({
    host: z.string(),
    port: z.number(),
    user: z.string(),
    database: z.string(),
    sslmode: SslMode,
    hasPassword: z.boolean(),
  })
  .openapi('EndpointView');
export type EndpointView = z.infer<typeof EndpointView>;

const gibibyte = 1024 ** 3;

/** The lowest rate that may be asked for, bytes/s: about one reading of a socket, so that it is a second at most between two. */
export const lowestRate = 64 * 1024;

/** What is told of the target once it has taken over. */
export const HandOver = z
  .strictObject({
    /** Program and arguments, run by the agent without a shell, with PGSLUICE_TARGET_URL in its environment. */
    command: z.array(StorableText.min(1)).min(1).optional(),
    /** http(s) address that is sent a POST with JSON; the URL in it holds no password. */
    webhook: z.url({ protocol: /^https?$/ }).optional(),
  })
  .openapi('HandOver');
export type HandOver = z.infer<typeof HandOver>;

/** Moments of a job that a hook may be told of, in the order in which they come. */
export const hookMoments = ['after-validate', 'before-cutover', 'after-cutover', 'completed', 'failed'] as const;
export const HookMoment = z.enum(hookMoments);
export type HookMoment = z.infer<typeof HookMoment>;

/** Something of the user's that is run or called at one moment of the job. */
export const Hook = z
  .strictObject({
    on: HookMoment,
    /** Program and arguments, run by the agent without a shell; needs an agent that allows commands. */
    command: z.array(StorableText.min(1)).min(1).optional(),
    /** http(s) address that is sent a signed POST with JSON; nothing in it holds a password. */
    webhook: z.url({ protocol: /^https?$/ }).optional(),
    /** Seconds a command may take; 600 when left out. */
    timeout: z.number().int().min(1).max(86_400).optional(),
  })
  .refine((hook) => (hook.command === undefined) !== (hook.webhook === undefined), {
    error: 'a hook has either a command or a webhook',
  })
  .openapi('Hook');
export type Hook = z.infer<typeof Hook>;

const globs = z.array(StorableText.min(1)).default([]);
const bytes = z.number().int().nonnegative();

/** `live` follows the source by logical replication until a cutover; `auto` takes it where it is possible and `cutover` was asked for. */
export const methods = ['auto', 'copy', 'live'] as const;
export const cutoverModes = ['auto', 'manual'] as const;
export const verifyModes = ['none', 'counts', 'full'] as const;
export const roleModes = ['none', 'create'] as const;
/** The extension's version on the source, then nothing more; or that and an update to the newest the target offers. */
export const extensionVersions = ['source', 'newest'] as const;
/** Between two servers, from a server into an archive directory, from an archive into a server. */
export const jobKinds = ['move', 'export', 'import'] as const;
export const JobKind = z.enum(jobKinds).openapi('JobKind');
export type JobKind = z.infer<typeof JobKind>;

export const JobOptions = z
  .strictObject({
    method: z.enum(methods).default('auto'),
    /** How many tables are copied at once; the plan lowers it to what both servers' connection limits allow. */
    tableJobs: z.number().int().min(1).max(64).default(4),
    /** How many indexes are built at once. */
    indexJobs: z.number().int().min(1).max(64).default(4),
    /** Tables above this many bytes are copied as several ctid ranges; null leaves it to the plan. */
    splitAbove: bytes.nullable().default(null),
    /** Bytes a second that all copies of the job together take from the source; null: no limit. Optional, since stored jobs may lack it. */
    maxRate: bytes.min(lowestRate, `must be at least ${lowestRate} bytes a second`).nullable().optional(),
    /** Leaves the source to those who use it: one reader, at a rate that gives way to the source's own work. */
    gentle: z.boolean().optional(),
    /** Globs with * and ?, matched case-sensitively; a table glob without a dot matches in every schema. */
    includeSchema: globs,
    excludeSchema: globs,
    includeTable: globs,
    excludeTable: globs,
    excludeTableData: globs,
    noOwner: z.boolean().default(false),
    noAcl: z.boolean().default(false),
    roles: z.enum(roleModes).default('none'),
    /** Owners and grantees by their name on the source, and who takes their place on the target. */
    mapRole: z.record(StorableText.min(1), StorableText.min(1)).default({}),
    /** The target's database is made first where it does not exist, as the source's is. */
    createDatabase: z.boolean().default(false),
    extensionVersion: z.enum(extensionVersions).default('source'),
    /** Extensions that are left out, with what depends on them. */
    excludeExtension: globs,
    /** The target may be of an older major than the source. */
    allowDowngrade: z.boolean().default(false),
    /** How an export compresses its files; null: zstd where pg_dump can, else gzip. Optional, since stored jobs may lack it. */
    compress: z
      .string()
      .regex(
        /^(?:none|(?:gzip|zstd|lz4)(?::\d{1,2})?)$/,
        'must be none, or gzip, zstd or lz4, with or without a level, for instance zstd:9',
      )
      .nullable()
      .optional(),
    schemaOnly: z.boolean().default(false),
    dataOnly: z.boolean().default(false),
    /** The target is not empty: its objects are dropped, only after the whole validation passed. */
    replace: z.boolean().default(false),
    verify: z.enum(verifyModes).default('full'),
    /** Disk that is free on the target in bytes, as declared by a person; null when unknown. */
    targetDisk: bytes.nullable().default(null),
    /** Who starts the cutover of a live job; null means manual, and tells method `auto` that downtime does not matter. */
    cutover: z.enum(cutoverModes).nullable().default(null),
    /** Seconds from the fence to the hand-over; after that the cutover is rolled back and the job follows on. */
    cutoverTimeout: z.number().int().min(1).max(3600).default(60),
    /** WAL that the slot makes the source keep, in bytes: from `slotWarn` on the job warns, at `slotLimit` it gives the slot up. */
    slotWarn: bytes.min(1).default(8 * gibibyte),
    slotLimit: bytes.min(1).default(64 * gibibyte),
    /** Added nullable columns, dropped columns and new tables on the source are carried over while following. */
    carrySchemaChanges: z.boolean().default(false),
    /** Slots and publications that earlier jobs of pgsluice left on the source are dropped before this one makes its own. */
    dropLeftovers: z.boolean().default(false),
    handOver: HandOver.nullable().default(null),
    hooks: z.array(Hook).max(50).default([]),
  })
  .refine((o) => !(o.schemaOnly && o.dataOnly), {
    error: 'schemaOnly and dataOnly exclude each other',
    path: ['schemaOnly'],
  })
  .refine((o) => !(o.method === 'live' && (o.schemaOnly || o.dataOnly)), {
    error: 'method live moves schema and data together; schemaOnly and dataOnly need method copy',
    path: ['method'],
  })
  .refine((o) => o.slotWarn <= o.slotLimit, { error: 'slotWarn is above slotLimit', path: ['slotWarn'] })
  .openapi('JobOptions');
export type JobOptions = z.infer<typeof JobOptions>;

export const JobRequest = z
  .strictObject({
    name: StorableText.min(1).max(200).optional(),
    kind: JobKind.default('move'),
    /** Left out by an import. */
    source: EndpointInput.optional(),
    /** Left out by an export. */
    target: EndpointInput.optional(),
    /** Of an export: the directory that is made. Of an import: a directory or custom-format file to read. On the agent's machine. */
    archive: z.strictObject({ path: StorableText.min(1) }).optional(),
    options: JobOptions.prefault({}),
    /** Start with the migration as soon as validation has passed. */
    start: z.boolean().default(false),
  })
  .refine((r) => (r.kind === 'import') === (r.source === undefined), {
    error: 'source is needed by a move and an export, and has no meaning for an import',
    path: ['source'],
  })
  .refine((r) => (r.kind === 'export') === (r.target === undefined), {
    error: 'target is needed by a move and an import, and has no meaning for an export',
    path: ['target'],
  })
  .refine((r) => (r.kind === 'move') === (r.archive === undefined), {
    error: 'archive is needed by an export and an import, and has no meaning for a move',
    path: ['archive'],
  })
  .refine((r) => r.kind === 'move' || r.options.method !== 'live', {
    error: 'an export or import moves one moment; method live follows a source and needs a move',
    path: ['options', 'method'],
  })
  .openapi('JobRequest');
export type JobRequest = z.infer<typeof JobRequest>;
/** What a client may send: defaults left out. */
export type JobRequestInput = z.input<typeof JobRequest>;
