import { z } from '@hono/zod-openapi';
import { StorableText } from './options.ts';

/** What the bearer of a token may do; each role includes those before it. */
export const roles = ['view', 'operate', 'admin'] as const;
export const Role = z.enum(roles).openapi('Role', {
  description:
    'view reads; operate also creates and steers jobs; admin also manages tokens, deletes, and reads the audit log.',
});
export type Role = z.infer<typeof Role>;

const Seconds = z
  .number()
  .int()
  .min(60)
  .max(10 * 366 * 86_400);

export const TokenRequest = z
  .strictObject({
    name: StorableText.trim().min(1).max(100).openapi({ description: 'Who or what uses it; stands in the audit log.' }),
    role: Role,
    /** Seconds from now; null: until it is revoked. */
    expiresIn: Seconds.nullable().default(null),
  })
  .openapi('TokenRequest');
export type TokenRequest = z.infer<typeof TokenRequest>;
export type TokenRequestInput = z.input<typeof TokenRequest>;

/** A token without the token: only its hash is kept. */
export const TokenView = z
  .object({
    id: z.string(),
    name: z.string(),
    role: Role,
    createdAt: z.string(),
    /** To the minute; null: never used. */
    lastUsedAt: z.string().nullable(),
    expiresAt: z.string().nullable(),
    revokedAt: z.string().nullable(),
  })
  .openapi('Token');
export type TokenView = z.infer<typeof TokenView>;

/** Shown once, at its creation. */
export const NewToken = TokenView.extend({ token: z.string() }).openapi('NewToken');
export type NewToken = z.infer<typeof NewToken>;

export const ShareRequest = z
  .strictObject({
    /** Seconds from now; a week when left out. */
    expiresIn: Seconds.max(366 * 86_400).default(7 * 86_400),
  })
  .openapi('ShareRequest');
export type ShareRequest = z.infer<typeof ShareRequest>;
export type ShareRequestInput = z.input<typeof ShareRequest>;

/** A link that shows one job and nothing else. */
export const ShareView = z
  .object({
    id: z.string(),
    job: z.string(),
    createdBy: z.string(),
    createdAt: z.string(),
    lastUsedAt: z.string().nullable(),
    expiresAt: z.string(),
    revokedAt: z.string().nullable(),
  })
  .openapi('Share');
export type ShareView = z.infer<typeof ShareView>;

export const NewShare = ShareView.extend({
  token: z.string(),
  path: z.string().openapi({ description: 'To be put behind the address of the agent; holds the token.' }),
}).openapi('NewShare');
export type NewShare = z.infer<typeof NewShare>;

export const AuditEntry = z
  .object({
    id: z.number(),
    at: z.string(),
    /** Id of the token or share; `agent`: the agent's own token; `cli`: a command on the state itself; `nobody`: refused. */
    actor: z.string(),
    actorName: z.string(),
    /** Of the client; empty for a command on the state itself. */
    address: z.string(),
    action: z.string(),
    subject: z.string().nullable(),
    status: z.number(),
    /** Why it was refused or failed; null where it was done. */
    code: z.string().nullable(),
  })
  .openapi('AuditEntry');
export type AuditEntry = z.infer<typeof AuditEntry>;

export const AuditQuery = z.object({
  before: z.coerce.number().int().positive().optional().openapi({ description: 'Only entries with a smaller id.' }),
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(1000)
    .optional()
    .openapi({ description: 'At most that many, the newest first; 100 when left out.' }),
});
export type AuditQuery = z.infer<typeof AuditQuery>;

/** Who asks, as GET /api/agent tells it. */
export const Caller = z
  .object({
    role: z.enum([...roles, 'share']),
    name: z.string(),
    /** The one job that a share shows; null for others. */
    job: z.string().nullable(),
  })
  .openapi('Caller');
export type Caller = z.infer<typeof Caller>;
