import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { onTestFinished } from 'vitest';

/**
 * What the sessions of pgsluice hold and wait for in the database `name`, and how many they are, as often as can be asked until it is
 * stopped or its test ends. `url` is of another database, since a fence ends the sessions of its own.
 */
export class LockWatch {
  readonly modes = new Set<string>();
  /** Oids of relations on which more than a reader's lock was held. */
  readonly strong = new Set<string>();
  mostSessions = 0;
  looks = 0;
  #over = false;
  readonly #watching: Promise<void>;

  constructor(url: string, name: string) {
    this.#watching = this.#watch(url, name);
    onTestFinished(() => this.stop());
  }

  async #watch(url: string, name: string): Promise<void> {
    const client = new Client({ connectionString: url, application_name: 'the watch' });
    await client.connect();
    while (!this.#over) {
      const { rows } = await client.query<{ mode: string; relation: string; sessions: string }>(
        `SELECT l.mode, l.relation::text AS relation,
                (SELECT count(*)::text FROM pg_stat_activity WHERE application_name LIKE 'pgsluice%' AND datname = $1) AS sessions
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
         WHERE a.application_name LIKE 'pgsluice%' AND l.locktype = 'relation' AND l.relation >= 16384
           AND l.database = (SELECT oid FROM pg_database WHERE datname = $1)`,
        [name],
      );
      this.looks += 1;
      for (const { mode, relation, sessions } of rows) {
        this.modes.add(mode);
        if (mode !== 'AccessShareLock') this.strong.add(`${mode} on ${relation}`);
        this.mostSessions = Math.max(this.mostSessions, Number(sessions));
      }
      await sleep(2);
    }
    await client.end();
  }

  async stop(): Promise<void> {
    this.#over = true;
    await this.#watching;
  }
}
