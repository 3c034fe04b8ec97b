import { and, eq, sql } from 'drizzle-orm';
import type { StateDatabase } from './database.ts';
import { jobAcceptances } from './schema.ts';

export type AcceptanceRow = typeof jobAcceptances.$inferSelect;

export async function acceptancesOf(db: StateDatabase, jobId: string): Promise<AcceptanceRow[]> {
  return await db.select().from(jobAcceptances).where(eq(jobAcceptances.jobId, jobId));
}

/** Takes the place of an earlier acceptance of the same check. */
export async function saveAcceptance(
  db: StateDatabase,
  row: Omit<AcceptanceRow, 'acceptedAt'>,
): Promise<AcceptanceRow | null> {
  const { found, acceptedBy, note } = row;
  const [saved] = await db
    .insert(jobAcceptances)
    .values(row)
    .onConflictDoUpdate({
      target: [jobAcceptances.jobId, jobAcceptances.checkId, jobAcceptances.side],
      set: { found, acceptedBy, note, acceptedAt: sql`now()` },
    })
    .returning();
  return saved ?? null;
}

export async function removeAcceptance(
  db: StateDatabase,
  { jobId, checkId, side }: Pick<AcceptanceRow, 'jobId' | 'checkId' | 'side'>,
): Promise<void> {
  await db
    .delete(jobAcceptances)
    .where(and(eq(jobAcceptances.jobId, jobId), eq(jobAcceptances.checkId, checkId), eq(jobAcceptances.side, side)));
}
