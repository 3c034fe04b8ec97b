import PQueue from 'p-queue';
import { throwIfAborted } from '../errors.ts';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import type { CloneContext } from './context.ts';
import { log } from './context.ts';

/**
 * Sessions to the target: never more at once than its limits allow, kept open between tasks, shared by copies and index
 * builds. A session whose task failed is closed, since its transaction's state is unknown.
 */
export class TargetSessions {
  readonly #context: CloneContext;
  readonly #queue: PQueue;
  readonly #idle: Session[] = [];
  readonly #settings: string;

  /** `settings`: SQL that every session runs once at its start. */
  constructor(context: CloneContext, connections: number, settings: string) {
    this.#context = context;
    this.#settings = settings;
    this.#queue = new PQueue({ concurrency: Math.max(1, connections) });
  }

  async with<T>(task: (session: Session) => Promise<T>): Promise<T> {
    return this.#queue.add(async () => {
      throwIfAborted(this.#context.signal);
      const idle = this.#takeIdle();
      const session = idle ?? (await this.#open());
      try {
        const result = await task(session);
        this.#idle.push(session);
        return result;
      } catch (error) {
        await session.close();
        throw error;
      }
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#idle.splice(0).map((session) => session.close()));
  }

  #takeIdle(): Session | null {
    for (let session = this.#idle.pop(); session !== undefined; session = this.#idle.pop()) {
      if (!session.lost) return session;
    }
    return null;
  }

  async #open(): Promise<Session> {
    const session = await openSession(this.#context.target, {
      signal: this.#context.signal,
      side: 'target',
      purpose: 'copy',
      retryForMs: 30_000,
      onRetry: (why, attempt) =>
        log(this.#context, 'warn', `Connection ${attempt} to the target failed, trying again: ${why}`),
    });
    try {
      await session.run(this.#settings);
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }
}
