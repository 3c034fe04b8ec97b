import { PgsluiceError, throwIfAborted } from '../errors.ts';
import type { DatabaseFacts } from '../postgres/database-facts.ts';
import type { RunContext } from './run-job.ts';

type Context = Pick<RunContext, 'target' | 'options' | 'rooms' | 'signal' | 'touchTarget' | 'emit'>;

/** What the target's database is to be like; null when the job is to make none. */
export async function readWantedDatabase(
  context: Pick<RunContext, 'source' | 'options' | 'rooms' | 'signal'>,
): Promise<DatabaseFacts | null> {
  if (!context.options.createDatabase) return null;
  return await context.rooms.targetDatabase.read(context.source, context.signal);
}

/** Makes the target's database where it does not exist. */
export async function makeDatabase(context: Context, facts: DatabaseFacts | null): Promise<void> {
  if (facts === null) return;
  await context.rooms.targetDatabase.create({
    target: context.target,
    facts,
    signal: context.signal,
    beforeFirstWrite: () => context.touchTarget(),
    log: (level, message) => context.emit({ type: 'log', level, message }),
  });
}

/**
 * Gives a database that was made here what the source's has beside its objects. Answers what is left for a person: nothing of
 * it makes the copy less whole. @throws the cancellation.
 */
export async function finishDatabase(context: Context, facts: DatabaseFacts | null): Promise<readonly string[]> {
  if (facts === null) return [];
  const { target, options, signal } = context;
  try {
    const { todo } = await context.rooms.targetDatabase.finish({
      target,
      facts,
      options,
      signal,
      log: (level, message) => context.emit({ type: 'log', level, message }),
    });
    for (const sentence of todo) context.emit({ type: 'log', level: 'warn', message: sentence });
    return todo;
  } catch (error) {
    throwIfAborted(signal);
    if (!(error instanceof PgsluiceError)) throw error;
    return [`The new database has not got the source's settings, grants and owner: ${error.message} ${error.hint}`];
  }
}

/** While the source is followed nothing may shut the job out: a connection limit is left to a person. Pure. */
export function withoutLimit(facts: DatabaseFacts | null): DatabaseFacts | null {
  return facts === null ? null : { ...facts, connectionLimit: -1 };
}
