import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Client } from 'pg';
import type { JobView } from '../../src/contract/job.ts';
import type { JobRequestInput } from '../../src/contract/options.ts';
import { contentsOf } from './contents.ts';
import { type Daemon, killStarting, startDaemon } from './daemon.ts';
import type { TestServer, TestServerLike } from './servers.ts';

const exec = promisify(execFile);

/** Sum of each purse before anything moved. */
export const purse = 200 * 1000;

/**
 * Every phase of a job takes long enough to be killed in. `left_purse`, `right_purse` and `ledger` belong to a writer
 * ({@link startLedger}); the rest stands still. `left_purse` is the first table to be copied and `right_purse` the last.
 */
export const crashSchema = `
  CREATE FUNCTION slow(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.003); RETURN i; END $$;
  CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
  CREATE TABLE left_purse (id int PRIMARY KEY, v bigint NOT NULL, filler text);
  INSERT INTO left_purse SELECT g, 1000, repeat(md5(g::text), 700) FROM generate_series(1, 200) g;
  CREATE TABLE parent (id int PRIMARY KEY, m mood, filler text);
  INSERT INTO parent SELECT g, (ARRAY['sad', 'ok', 'happy'])[1 + g % 3]::mood, repeat('x', 100 + g % 50) FROM generate_series(1, 12000) g;
  CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent, at timestamptz DEFAULT '2026-01-02 03:04:05.678901+00', n numeric);
  INSERT INTO child (id, parent, n) SELECT g, g, g / 7.0 FROM generate_series(1, 12000) g;
  CREATE TABLE indexed (id int PRIMARY KEY);
  INSERT INTO indexed SELECT generate_series(1, 150);
  CREATE INDEX indexed_slowly ON indexed (slow(id));
  CREATE TABLE by_mood (id int, m mood, PRIMARY KEY (id, m)) PARTITION BY LIST (m);
  CREATE TABLE by_mood_sad PARTITION OF by_mood FOR VALUES IN ('sad');
  CREATE TABLE by_mood_rest PARTITION OF by_mood DEFAULT;
  INSERT INTO by_mood SELECT g, (ARRAY['sad', 'ok', 'happy'])[1 + g % 3]::mood FROM generate_series(1, 2000) g;
  CREATE SEQUENCE counter; SELECT setval('counter', 4711);
  CREATE MATERIALIZED VIEW slowly AS SELECT count(*) FROM (SELECT slow(id) FROM indexed OFFSET 0) s;
  SELECT lo_from_bytea(90001, decode(repeat('5a', 200000), 'hex')), lo_from_bytea(90002, 'small');
  CREATE TABLE ledger (n bigint PRIMARY KEY, at timestamptz DEFAULT now());
  CREATE TABLE right_purse (id int PRIMARY KEY, v bigint NOT NULL);
  INSERT INTO right_purse SELECT g, 1000 FROM generate_series(1, 200) g;`;

const written: ReadonlySet<string> = new Set(
  ['left_purse', 'right_purse', 'ledger'].map((name) => `"public"."${name}"`),
);

export interface Ledger {
  /** Transactions that the server has confirmed. */
  committed(): number;
  stop(): Promise<void>;
}

/** Moves one coin from the left purse to the right one and notes it in the ledger, again and again, each in one transaction. */
export function startLedger(url: string): Ledger {
  const stop = new AbortController();
  let committed = 0;
  const work = (async () => {
    while (!stop.signal.aborted) {
      const client = new Client({ connectionString: url, application_name: 'ledger' });
      client.on('error', () => undefined);
      try {
        await client.connect();
        while (!stop.signal.aborted) {
          const id = 1 + (committed % 200);
          await client.query(
            `BEGIN; INSERT INTO ledger (n) SELECT coalesce(max(n), 0) + 1 FROM ledger;
             UPDATE left_purse SET v = v - 1 WHERE id = ${id}; UPDATE right_purse SET v = v + 1 WHERE id = ${id}; COMMIT`,
          );
          committed += 1;
          await sleep(20);
        }
      } catch {
        // A fence, or a server that is away: tried again until the test is over.
        await sleep(200);
      } finally {
        await client.end().catch(() => undefined);
      }
    }
  })();
  return {
    committed: () => committed,
    stop: async () => {
      stop.abort();
      await work;
    },
  };
}

/** What does not fit together where two moments were mixed; empty for one moment of a ledger's database. */
export async function mixedMoments(server: TestServerLike, database: string): Promise<string[]> {
  const [row] = await server.query(
    `SELECT (SELECT sum(v) FROM left_purse)::int AS "left", (SELECT sum(v) FROM right_purse)::int AS "right",
            (SELECT count(*) FROM ledger)::int AS noted, (SELECT coalesce(max(n), 0) FROM ledger)::int AS last`,
    database,
  );
  const [left, right, noted, last] = [row?.['left'], row?.['right'], row?.['noted'], row?.['last']].map(Number);
  if (left === undefined || right === undefined || noted === undefined || last === undefined) return ['nothing'];
  const found: string[] = [];
  if (left + right !== 2 * purse) found.push(`the purses hold ${left} + ${right}, not ${2 * purse}`);
  if (purse - left !== noted) found.push(`${purse - left} coins left, ${noted} noted`);
  if (right - purse !== noted) found.push(`${right - purse} coins arrived, ${noted} noted`);
  if (last !== noted) found.push(`${noted} notes up to number ${last}`);
  return found;
}

/** What of a database stands still while a ledger is written. */
export async function stillContents(server: TestServerLike, database: string): Promise<[string, string][]> {
  return [...(await contentsOf(server, database))].filter(([name]) => !written.has(name));
}

/** An agent that is killed again and again. All that it may write to is below `dir`. */
export class MortalAgent {
  readonly dir: string;
  readonly state: string;
  readonly #pgBin: string;
  #daemon: Daemon | null = null;
  #dying = false;

  private constructor(dir: string, pgBin: string) {
    this.dir = dir;
    this.#pgBin = pgBin;
    this.state = join(dir, 'state');
  }

  /** `pgBin`: the folder with the pg_dump that it is to use. */
  static async start(pgBin: string): Promise<MortalAgent> {
    const agent = new MortalAgent(await mkdtemp(join(tmpdir(), 'pgsluice-crash-')), pgBin);
    await Promise.all(['state', 'tmp', 'archives'].map((name) => mkdir(join(agent.dir, name))));
    await agent.restart();
    return agent;
  }

  get #env(): Record<string, string> {
    return { TMPDIR: join(this.dir, 'tmp'), PGSLUICE_PG_BIN: this.#pgBin };
  }

  get alive(): boolean {
    return this.#daemon !== null && !this.#dying;
  }

  async api(path: string, init: { method?: string; body?: unknown } = {}): Promise<unknown> {
    if (this.#daemon === null) throw new Error('the agent is dead');
    return this.#daemon.api(path, init);
  }

  /** The answer of this agent or of the one after it. */
  async ask(path: string): Promise<unknown> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.api(path);
      } catch (error) {
        if (attempt === 300) throw error;
        await sleep(200);
      }
    }
  }

  async restart(): Promise<void> {
    this.#daemon = await startDaemon(this.state, 0, this.#env, ['--concurrency', '6']);
    this.#dying = false;
  }

  async kill(): Promise<void> {
    this.#dying = true;
    await this.#daemon?.kill9();
    this.#daemon = null;
  }

  async killStarting(ms: number): Promise<void> {
    await killStarting(this.state, ms, this.#env);
  }

  /** Files that no agent should leave once its jobs are over: temporary ones, sockets, parts of archives. */
  async leftFiles(): Promise<string[]> {
    const [temporary, work, archives] = await Promise.all(
      [join(this.dir, 'tmp'), join(this.state, 'work'), join(this.dir, 'archives')].map((dir) => readdir(dir)),
    );
    return [...(temporary ?? []), ...(work ?? []), ...(archives ?? []).filter((name) => name.includes('.part-'))];
  }

  /** Programs that this agent, or one before it, has started and that still run. */
  async leftPrograms(): Promise<string[]> {
    const found: string[] = [];
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
      const args = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      if (/^[^\0]*pg_(dump|restore)\0/.test(args) && args.includes(this.dir)) found.push(args.replaceAll('\0', ' '));
    }
    return found;
  }

  async end(): Promise<void> {
    await this.kill();
    await rm(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

/** An export whose agent died after the archive had got its name, and before that was stored: the archive is whole, and stays. */
export function foundWhole({ kind, state, error }: Pick<JobView, 'kind' | 'state' | 'error'>): boolean {
  return (
    kind === 'export' &&
    state === 'blocked' &&
    /something at .* already; nothing is overwritten/.test(error?.message ?? '')
  );
}

/** One job of a mortal agent, with what a patient person does for it: resumes, retries, and asks for the cutover. */
export class CrashJob {
  readonly name: string;
  id = '';
  /** Where it was when it was last seen. */
  place = 'new';
  /** How often it was seen to be elsewhere than before. */
  moves = 0;
  readonly failures: string[] = [];
  readonly #agent: MortalAgent;
  readonly #request: JobRequestInput;

  constructor(agent: MortalAgent, name: string, request: JobRequestInput) {
    this.#agent = agent;
    this.name = name;
    this.#request = request;
  }

  /** Makes the job once, however often its agent dies meanwhile. */
  async #make(): Promise<void> {
    const { jobs } = (await this.#agent.api('/api/jobs')) as { readonly jobs: readonly JobView[] };
    const found = jobs.find((job) => job.name === this.name);
    if (found === undefined) {
      const body = { ...this.#request, name: this.name, start: true };
      this.id = ((await this.#agent.api('/api/jobs', { method: 'POST', body })) as JobView).id;
    } else this.id = found.id;
  }

  async #act(action: string): Promise<void> {
    await this.#agent.api(`/api/jobs/${this.id}/${action}`, { method: 'POST' });
  }

  async log(): Promise<string> {
    const answer = await this.#agent.api(`/api/jobs/${this.id}/logs?limit=5000`);
    return (answer as { events: readonly { message: string }[] }).events.map(({ message }) => message).join('\n');
  }

  /** @throws when it takes longer than `ms`, or ends otherwise than completed, with what the log says. */
  async tend(ms: number): Promise<JobView> {
    const end = Date.now() + ms;
    for (;;) {
      const view = await this.#step().catch((error: unknown) => {
        if (error instanceof JobOver) throw error;
        // The agent is dead, or an action came in the wrong moment.
        return null;
      });
      if (view?.state === 'completed' || (view !== null && foundWhole(view))) return view;
      if (Date.now() > end)
        throw new Error(`${this.name} takes too long: ${view?.state} ${view?.summary}\n${await this.#told()}`);
      await sleep(80);
    }
  }

  /** Until it was seen in so many other phases, is over, or `ms` have passed. */
  async untilMoved(phases: number, ms: number): Promise<void> {
    const wanted = this.moves + phases;
    for (const until = Date.now() + ms; this.moves < wanted && this.place !== 'completed' && Date.now() < until;)
      await sleep(20);
  }

  async #step(): Promise<JobView | null> {
    if (!this.#agent.alive) return null;
    if (this.id === '') await this.#make();
    const view = (await this.#agent.api(`/api/jobs/${this.id}`)) as JobView;
    const place = view.state === 'running' ? (view.phase ?? 'running') : view.state;
    if (place !== this.place) this.moves += 1;
    this.place = place;
    if (view.state === 'draft' || view.state === 'ready') await this.#act('start');
    else if (view.state === 'paused') await this.#act('resume');
    else if (view.state === 'failed') {
      const { code, message, hint } = view.error ?? { code: '', message: '', hint: '' };
      if ([code, message, hint].includes('')) throw new JobOver(`${this.name} failed without a reason`);
      this.failures.push(`${code}: ${message}`);
      await this.#act('retry');
    } else if (view.state === 'following') {
      if (view.live?.connected === true && view.live.lagBytes < 1_000_000) await this.#act('cutover');
    } else if ((view.state === 'blocked' && !foundWhole(view)) || view.state === 'cancelled') {
      throw new JobOver(`${this.name} is ${view.state}: ${view.summary}\n${await this.#told()}`);
    }
    return view;
  }

  async #told(): Promise<string> {
    return (await this.log().catch(String)).slice(-5000);
  }
}

class JobOver extends Error {}

/** Restores an archive with pg_restore alone. */
export async function restoreAlone(
  server: TestServer,
  pgBin: string,
  archive: string,
  database: string,
): Promise<void> {
  const url = await server.createDatabase(database);
  const run = exec(join(pgBin, 'pg_restore'), ['--jobs=2', `--dbname=${url}`, archive], { maxBuffer: 1 << 26 });
  await run.catch((error: unknown) => {
    // A newer pg_restore sets what an older server does not know; what arrives is compared in any case.
    if (!(error instanceof Error && error.message.includes('"transaction_timeout"'))) throw error;
  });
}
