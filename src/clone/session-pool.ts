import PQueue from 'p-queue';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import type { ConnectionSettings, Side } from '../postgres/settings.ts';
import { buildSettingsSql, chooseBuildSettings, readTargetMeans } from './build-settings.ts';
import type { TargetContext } from './context.ts';
import { log } from './context.ts';

export interface SessionPoolInput {
  readonly side: Side;
  readonly server: ConnectionSettings;
  /** Sessions at once, at least 1. */
  readonly connections: number;
  /** SQL that every session runs once at its start. */
  readonly settings: string;
}

/**
 * Sessions to one side: never more at once than its limits allow, kept open between tasks; those to the target are shared by
 * copies and index builds, those to the source are read-only. A session whose task failed is closed, since its transaction's
 * state is unknown. Where a task needs a session of both sides it takes the target's first.
 */
export class SessionPool {
  readonly #context: Pick<TargetContext, 'signal' | 'emit'>;
  readonly #queue: PQueue;
  readonly #idle: Session[] = [];
  /** Sessions at work; one that is left running by a failed job would go on building indexes. */
  readonly #busy = new Set<Session>();
  #closed = false;
  readonly #input: SessionPoolInput;

  constructor(context: Pick<TargetContext, 'signal' | 'emit'>, input: SessionPoolInput) {
    this.#context = context;
    this.#input = input;
    this.#queue = new PQueue({ concurrency: Math.max(1, input.connections) });
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
    const { side, server, settings } = this.#input;
    const session = await openSession(server, {
      signal: this.#context.signal,
      side,
      purpose: 'copy',
      retryForMs: 30_000,
      readOnly: side === 'source',
      onRetry: (why, attempt) =>
        log(this.#context, 'warn', `Connection ${attempt} to the ${side} failed, trying again: ${why}`),
    });
    try {
      await session.run(settings);
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }
}

/** A session to the target beside the pool, for questions; null when the target allows a single connection, which the work itself needs. */
export async function openControl(context: TargetContext): Promise<Session | null> {
  if (context.connections.target < 2) return null;
  return openSession(context.target, {
    signal: context.signal,
    side: 'target',
    purpose: 'control',
    retryForMs: 30_000,
  });
}

/** Settings of sessions that build indexes, from what the target says it has, as SQL; timeouts are off already. */
export async function buildSettings(control: Session | null, jobs: number): Promise<string> {
  if (control === null) return 'SELECT 1';
  return buildSettingsSql(chooseBuildSettings(await readTargetMeans(control), jobs));
}
