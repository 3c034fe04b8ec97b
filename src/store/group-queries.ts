import { and, asc, eq, isNotNull, like, sql } from 'drizzle-orm';
import type { EndpointView } from '../contract/options.ts';
import type { GroupPlanEntry } from '../contract/group.ts';
import type { StateDatabase } from './database.ts';
import { type JobRow, type NewJobRow } from './job-queries.ts';
import { jobs, meta } from './schema.ts';

/** What a group is beside its jobs. Holds no password. */
export interface GroupRecord {
  readonly id: string;
  readonly name: string;
  /** As they were named: the database in them is where the list was read. */
  readonly source: EndpointView;
  readonly target: EndpointView;
  readonly plan: readonly GroupPlanEntry[];
  /** ISO, UTC. */
  readonly createdAt: string;
}

const keyOf = (id: string): string => `group.${id}`;

/** The group and its jobs, or nothing at all. */
export async function insertGroup(db: StateDatabase, group: GroupRecord, rows: readonly NewJobRow[]): Promise<void> {
  await db.transaction(async (transaction) => {
    await transaction.insert(meta).values({ key: keyOf(group.id), value: JSON.stringify(group) });
    // Of one transaction all have one time of creation; their order is the plan's.
    for (const row of rows) await transaction.insert(jobs).values(row);
  });
}

export async function findGroup(db: StateDatabase, id: string): Promise<GroupRecord | null> {
  const [row] = await db
    .select({ value: meta.value })
    .from(meta)
    .where(eq(meta.key, keyOf(id)));
  return row === undefined ? null : (JSON.parse(row.value) as GroupRecord);
}

/** Newest first. */
export async function listGroups(db: StateDatabase): Promise<GroupRecord[]> {
  const rows = await db.select({ value: meta.value }).from(meta).where(like(meta.key, 'group.%'));
  return rows
    .map((row) => JSON.parse(row.value) as GroupRecord)
    .toSorted((a, b) => b.createdAt.localeCompare(a.createdAt));
}

export async function groupRows(db: StateDatabase, id: string): Promise<JobRow[]> {
  return await db.select().from(jobs).where(eq(jobs.groupId, id)).orderBy(asc(jobs.id));
}

/** Forgets groups of which no job is left. */
export async function forgetEmptyGroups(db: StateDatabase): Promise<void> {
  const standing = db
    .select({ key: sql`'group.' || ${jobs.groupId}` })
    .from(jobs)
    .where(isNotNull(jobs.groupId));
  await db.delete(meta).where(and(like(meta.key, 'group.%'), sql`${meta.key} not in (${standing})`));
}
