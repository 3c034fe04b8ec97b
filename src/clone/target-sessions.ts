import PQueue from 'p-queue';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
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
  /** Sessions at work; one that is left running by a failed job would go on building indexes. */
  readonly #busy = new Set<Session>();
  #closed = false;
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
      this.#assertOpen();
      const session = this.#takeIdle() ?? (await this.#open());
      this.#busy.add(session);
      try {
        this.#assertOpen();
        const result = await task(session);
        this.#busy.delete(session);
        if (this.#closed) await session.close();
        else this.#idle.push(session);
        return result;
      } catch (error) {
        this.#busy.delete(session);
        await session.close();
        throw error;
      }
    });
  }

  /** Ends what still runs on them, too; tasks that wait are refused. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#idle.splice(0), ...this.#busy].map((session) => session.close()));
  }

  #assertOpen(): void {
    if (!this.#closed) return;
    throw new PgsluiceError({
      code: 'RUN_ENDED',
      message: 'The run of the job has ended before this step.',
      hint: 'Look for the error that ended it, then retry the job.',
    });
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
