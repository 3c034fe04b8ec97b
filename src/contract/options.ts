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

const globs = z.array(StorableText.min(1)).default([]);
const bytes = z.number().int().nonnegative();

/** Live replication is not part of this version; `auto` therefore takes `copy` and the log says so. */
export const methods = ['auto', 'copy'] as const;
export const verifyModes = ['none', 'counts', 'full'] as const;
export const roleModes = ['none', 'create'] as const;

export const JobOptions = z
  .strictObject({
    method: z.enum(methods).default('auto'),
    /** How many tables are copied at once; the plan lowers it to what both servers' connection limits allow. */
    tableJobs: z.number().int().min(1).max(64).default(4),
    /** How many indexes are built at once. */
    indexJobs: z.number().int().min(1).max(64).default(4),
    /** Tables above this many bytes are copied as several ctid ranges; null leaves it to the plan. */
    splitAbove: bytes.nullable().default(null),
    /** Globs with * and ?, matched case-sensitively; a table glob without a dot matches in every schema. */
    includeSchema: globs,
    excludeSchema: globs,
    includeTable: globs,
    excludeTable: globs,
    excludeTableData: globs,
    noOwner: z.boolean().default(false),
    noAcl: z.boolean().default(false),
    roles: z.enum(roleModes).default('none'),
    schemaOnly: z.boolean().default(false),
    dataOnly: z.boolean().default(false),
    /** The target is not empty: its objects are dropped, only after the whole validation passed. */
    replace: z.boolean().default(false),
    verify: z.enum(verifyModes).default('full'),
    /** Disk that is free on the target in bytes, as declared by a person; null when unknown. */
    targetDisk: bytes.nullable().default(null),
  })
  .refine((o) => !(o.schemaOnly && o.dataOnly), {
    error: 'schemaOnly and dataOnly exclude each other',
    path: ['schemaOnly'],
  })
  .openapi('JobOptions');
export type JobOptions = z.infer<typeof JobOptions>;

export const JobRequest = z
  .strictObject({
    name: StorableText.min(1).max(200).optional(),
    source: EndpointInput,
    target: EndpointInput,
    options: JobOptions.prefault({}),
    /** Start with the migration as soon as validation has passed. */
    start: z.boolean().default(false),
  })
  .openapi('JobRequest');
export type JobRequest = z.infer<typeof JobRequest>;
/** What a client may send: defaults left out. */
export type JobRequestInput = z.input<typeof JobRequest>;
