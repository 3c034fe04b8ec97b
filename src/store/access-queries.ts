import { and, asc, desc, eq, inArray, isNull, lt, or, sql } from 'drizzle-orm';
import type { StateDatabase } from './database.ts';
import { accessTokens, auditLog, jobs, jobShares } from './schema.ts';

export type TokenRow = typeof accessTokens.$inferSelect;
export type ShareRow = typeof jobShares.$inferSelect;
export type AuditRow = typeof auditLog.$inferSelect;
export type NewAuditRow = Pick<AuditRow, 'actor' | 'actorName' | 'address' | 'action' | 'subject' | 'status' | 'code'>;

/** How long after the end of its job a share still shows how it ended. */
const shareGrace = sql`interval '1 hour'`;
const minute = sql`interval '1 minute'`;

/** Neither revoked nor expired, by the database's clock. */
const tokenHolds = and(
  isNull(accessTokens.revokedAt),
  or(isNull(accessTokens.expiresAt), sql`${accessTokens.expiresAt} > now()`),
);
const shareHolds = and(
  isNull(jobShares.revokedAt),
  sql`${jobShares.expiresAt} > now()`,
  sql`not (${inArray(jobs.state, ['completed', 'cancelled'])} and coalesce(${jobs.finishedAt}, ${jobs.updatedAt}) + ${shareGrace} < now())`,
);

const inSeconds = (seconds: number) => sql<Date>`now() + make_interval(secs => ${seconds})`;

export async function insertToken(
  db: StateDatabase,
  token: Pick<TokenRow, 'id' | 'hash' | 'name' | 'role'> & { readonly expiresIn: number | null },
): Promise<TokenRow> {
  const { expiresIn, ...row } = token;
  const [stored] = await db
    .insert(accessTokens)
    .values({ ...row, expiresAt: expiresIn === null ? null : inSeconds(expiresIn) })
    .returning();
  if (stored === undefined) throw new Error('the token was not stored');
  return stored;
}

/** Newest first. */
export async function listTokens(db: StateDatabase): Promise<TokenRow[]> {
  return await db.select().from(accessTokens).orderBy(desc(accessTokens.createdAt), desc(accessTokens.id));
}

/** Null where there is none of that id; one that is revoked already stays as it is. */
export async function revokeToken(db: StateDatabase, id: string): Promise<TokenRow | null> {
  await db
    .update(accessTokens)
    .set({ revokedAt: sql`now()` })
    .where(and(eq(accessTokens.id, id), isNull(accessTokens.revokedAt)));
  const [row] = await db.select().from(accessTokens).where(eq(accessTokens.id, id));
  return row ?? null;
}

/** The token of that hash, where it still holds; notes its use, once a minute. */
export async function useToken(
  db: StateDatabase,
  hash: string,
): Promise<Pick<TokenRow, 'id' | 'name' | 'role'> | null> {
  const stale = sql<boolean>`coalesce(${accessTokens.lastUsedAt} < now() - ${minute}, true)`;
  const [row] = await db
    .select({ id: accessTokens.id, name: accessTokens.name, role: accessTokens.role, stale })
    .from(accessTokens)
    .where(and(eq(accessTokens.hash, hash), tokenHolds));
  if (row === undefined) return null;
  const { id, name, role } = row;
  if (row.stale) {
    await db
      .update(accessTokens)
      .set({ lastUsedAt: sql`now()` })
      .where(eq(accessTokens.id, id));
  }
  return { id, name, role };
}

export async function insertShare(
  db: StateDatabase,
  share: Pick<ShareRow, 'id' | 'hash' | 'jobId' | 'createdBy'> & { readonly expiresIn: number },
): Promise<ShareRow> {
  const { expiresIn, ...row } = share;
  const [stored] = await db
    .insert(jobShares)
    .values({ ...row, expiresAt: inSeconds(expiresIn) })
    .returning();
  if (stored === undefined) throw new Error('the share was not stored');
  return stored;
}

/** Newest first. */
export async function listShares(db: StateDatabase, jobId: string): Promise<ShareRow[]> {
  return await db
    .select()
    .from(jobShares)
    .where(eq(jobShares.jobId, jobId))
    .orderBy(desc(jobShares.createdAt), desc(jobShares.id));
}

/** Null where the job has none of that id. */
export async function revokeShare(db: StateDatabase, jobId: string, id: string): Promise<ShareRow | null> {
  const own = and(eq(jobShares.id, id), eq(jobShares.jobId, jobId));
  await db
    .update(jobShares)
    .set({ revokedAt: sql`now()` })
    .where(and(own, isNull(jobShares.revokedAt)));
  const [row] = await db.select().from(jobShares).where(own);
  return row ?? null;
}

/** The share of that hash, where it still holds; it ends with its job. Notes its use, once a minute. */
export async function useShare(db: StateDatabase, hash: string): Promise<Pick<ShareRow, 'id' | 'jobId'> | null> {
  const stale = sql<boolean>`coalesce(${jobShares.lastUsedAt} < now() - ${minute}, true)`;
  const [row] = await db
    .select({ id: jobShares.id, jobId: jobShares.jobId, stale })
    .from(jobShares)
    .innerJoin(jobs, eq(jobs.id, jobShares.jobId))
    .where(and(eq(jobShares.hash, hash), shareHolds));
  if (row === undefined) return null;
  const { id, jobId } = row;
  if (row.stale) {
    await db
      .update(jobShares)
      .set({ lastUsedAt: sql`now()` })
      .where(eq(jobShares.id, id));
  }
  return { id, jobId };
}

/** Of these tokens and shares those that still hold. */
export async function stillHolding(db: StateDatabase, ids: readonly string[]): Promise<Set<string>> {
  if (ids.length === 0) return new Set();
  const wanted = [...ids];
  const tokens = await db
    .select({ id: accessTokens.id })
    .from(accessTokens)
    .where(and(inArray(accessTokens.id, wanted), tokenHolds));
  const shares = await db
    .select({ id: jobShares.id })
    .from(jobShares)
    .innerJoin(jobs, eq(jobs.id, jobShares.jobId))
    .where(and(inArray(jobShares.id, wanted), shareHolds));
  return new Set([...tokens, ...shares].map(({ id }) => id));
}

export async function insertAudit(db: StateDatabase, entry: NewAuditRow): Promise<void> {
  await db.insert(auditLog).values(entry);
}

/** Newest first. */
export async function readAudit(
  db: StateDatabase,
  query: { before: number | null; limit: number },
): Promise<AuditRow[]> {
  return await db
    .select()
    .from(auditLog)
    .where(query.before === null ? undefined : lt(auditLog.id, query.before))
    .orderBy(desc(auditLog.id))
    .limit(query.limit);
}

/** Removes what is older than `days`, and the oldest beyond `keep`; at most `limit` at once. Answers how many. */
export async function pruneAudit(
  db: StateDatabase,
  bounds: { keep: number; days: number; limit: number },
): Promise<number> {
  const newest = db.select({ id: sql`max(${auditLog.id})` }).from(auditLog);
  const beyond = db
    .select({ id: auditLog.id })
    .from(auditLog)
    .where(
      or(
        sql`${auditLog.at} < now() - make_interval(days => ${bounds.days})`,
        sql`${auditLog.id} <= (${newest}) - ${bounds.keep}`,
      ),
    )
    .orderBy(asc(auditLog.id))
    .limit(bounds.limit);
  const gone = await db.delete(auditLog).where(inArray(auditLog.id, beyond)).returning({ id: auditLog.id });
  return gone.length;
}
