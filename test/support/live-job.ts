import { setTimeout as sleep } from 'node:timers/promises';
import type { JobState } from '../../src/contract/event.ts';
import type { JobView } from '../../src/contract/job.ts';
import type { JobRequestInput } from '../../src/contract/options.ts';
import type { Daemon } from './daemon.ts';
import type { TestServerLike } from './servers.ts';

/** A job of a daemon, for tests of the live method. The daemon may be another one at every call: it may have been killed. */
export class LiveJob {
  readonly id: string;
  readonly #daemon: () => Daemon;

  private constructor(id: string, daemon: () => Daemon) {
    this.id = id;
    this.#daemon = daemon;
  }

  static async start(
    daemon: () => Daemon,
    sourceUrl: string,
    targetUrl: string,
    options: JobRequestInput['options'] = {},
  ): Promise<LiveJob> {
    const body = {
      source: { url: sourceUrl },
      target: { url: targetUrl },
      options: { method: 'live', tableJobs: 2, indexJobs: 2, ...options },
      start: true,
    };
    const view = (await daemon().api('/api/jobs', { method: 'POST', body })) as JobView;
    return new LiveJob(view.id, daemon);
  }

  async view(): Promise<JobView> {
    return (await this.#daemon().api(`/api/jobs/${this.id}`)) as JobView;
  }

  async act(action: string): Promise<void> {
    await this.#daemon().api(`/api/jobs/${this.id}/${action}`, { method: 'POST' });
  }

  /** Everything the log says, one message a line. */
  async log(): Promise<string> {
    const { events } = (await this.#daemon().api(`/api/jobs/${this.id}/logs?limit=5000`)) as {
      readonly events: readonly { readonly message: string }[];
    };
    return events.map((line) => line.message).join('\n');
  }

  /** Waits until `ask` is content with the job. @throws with the log's end when that takes longer than `ms`. */
  async until(what: string, ask: (view: JobView) => boolean, ms = 120_000): Promise<JobView> {
    const end = Date.now() + ms;
    for (;;) {
      const view = await this.view().catch(() => null);
      if (view !== null && ask(view)) return view;
      if (Date.now() > end) {
        throw new Error(
          `waited ${ms / 1000} s for ${what}; the job is ${view?.state}: ${view?.summary} ${JSON.stringify(view?.error)}\n${JSON.stringify(view?.live)}\n${(await this.log().catch(String)).slice(-4000)}`,
        );
      }
      await sleep(150);
    }
  }

  untilState(states: readonly JobState[], ms = 120_000): Promise<JobView> {
    return this.until(states.join(' or '), (view) => states.includes(view.state), ms);
  }

  /** Following, and at most `lag` bytes of WAL behind. */
  untilCaughtUp(lag = 1_000_000, ms = 120_000): Promise<JobView> {
    const over: readonly JobState[] = ['failed', 'cancelled', 'completed', 'blocked'];
    return this.until(
      'the target to have caught up',
      (view) => {
        if (over.includes(view.state)) throw new Error(`the job is ${view.state}: ${JSON.stringify(view.error)}`);
        return view.state === 'following' && view.live !== null && view.live.connected && view.live.lagBytes <= lag;
      },
      ms,
    );
  }
}

/** Whatever of ours stands on a server: slots, publications, schemas, sessions, locks, settings of databases. */
export async function traces(server: TestServerLike, database: string): Promise<string[]> {
  const rows = await server.query(
    `SELECT 'slot ' || slot_name AS what FROM pg_replication_slots WHERE slot_name LIKE 'pgsluice%'
     UNION ALL SELECT 'publication ' || pubname FROM pg_publication WHERE pubname LIKE 'pgsluice%'
     UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'pgsluice%'
     UNION ALL SELECT 'session ' || application_name FROM pg_stat_activity WHERE application_name LIKE 'pgsluice%'
     UNION ALL SELECT 'setting ' || array_to_string(setconfig, ',') FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
       WHERE d.datname = current_database() AND setrole = 0`,
    database,
  );
  return rows.map((row) => String(row['what'])).toSorted();
}

/** Sessions end a moment after their process: waits for that, and answers what stays. */
export async function lastingTraces(server: TestServerLike, database: string, ms = 15_000): Promise<string[]> {
  const end = Date.now() + ms;
  for (;;) {
    const found = await traces(server, database);
    if (found.length === 0 || Date.now() > end) return found;
    await sleep(200);
  }
}
