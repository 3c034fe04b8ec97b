import { eq, inArray, sql } from 'drizzle-orm';
import type { StateDatabase } from './database.ts';
import { isAlive, type ProcessIdentity } from './process-identity.ts';
import { agents, meta } from './schema.ts';

/** An agent without a heartbeat for that long is dead. */
export const agentSilenceSeconds = 30;

export async function registerAgent(
  db: StateDatabase,
  agent: { id: string; role: string; identity: ProcessIdentity },
): Promise<void> {
  await db.insert(agents).values({ id: agent.id, role: agent.role, ...agent.identity });
}

/** False when this agent has been declared dead and removed by another one. */
export async function beat(db: StateDatabase, agentId: string): Promise<boolean> {
  const rows = await db
    .update(agents)
    .set({ heartbeatAt: sql`now()` })
    .where(eq(agents.id, agentId))
    .returning({ id: agents.id });
  return rows.length === 1;
}

/** Ids of the agents that are dead: silent for too long, or their process is known to be gone. */
export async function deadAgents(db: StateDatabase, ownId: string): Promise<string[]> {
  const rows = await db
    .select({
      id: agents.id,
      pid: agents.pid,
      processStart: agents.processStart,
      host: agents.host,
      scope: agents.scope,
      silent: sql<boolean>`${agents.heartbeatAt} < now() - make_interval(secs => ${agentSilenceSeconds})`,
    })
    .from(agents);
  return rows.filter((row) => row.id !== ownId && (row.silent || isAlive(row) === false)).map((row) => row.id);
}

export async function forgetAgents(db: StateDatabase, ids: readonly string[]): Promise<void> {
  if (ids.length > 0) await db.delete(agents).where(inArray(agents.id, [...ids]));
}

/** The agents other than `ownId` that have a heartbeat, for a message to a person. */
export async function livingAgents(db: StateDatabase, ownId: string): Promise<string[]> {
  const rows = await db
    .select({ id: agents.id, host: agents.host, pid: agents.pid })
    .from(agents)
    .where(
      sql`${agents.id} <> ${ownId} and ${agents.heartbeatAt} > now() - make_interval(secs => ${agentSilenceSeconds})`,
    );
  return rows.map(({ host, pid }) => `the agent on ${host} (pid ${pid})`);
}

/** Who an agent is, for a message to a person. */
export async function describeAgent(db: StateDatabase, id: string): Promise<string> {
  const [row] = await db.select({ host: agents.host, pid: agents.pid }).from(agents).where(eq(agents.id, id));
  return row === undefined ? 'an agent that is gone' : `the agent on ${row.host} (pid ${row.pid})`;
}

/** The value of `key`, first set to `value` when it has none: of several processes all see the first one's. */
export async function metaValue(db: StateDatabase, key: string, value: string): Promise<string> {
  await db.insert(meta).values({ key, value }).onConflictDoNothing();
  return (await readMeta(db, key)) ?? value;
}

export async function readMeta(db: StateDatabase, key: string): Promise<string | null> {
  const [row] = await db.select({ value: meta.value }).from(meta).where(eq(meta.key, key));
  return row?.value ?? null;
}
