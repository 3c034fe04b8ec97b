import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JobView } from '../src/contract/job.ts';
import type { JobRequestInput } from '../src/contract/options.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { type BadLine, type Passage, type Weather, startBadLine } from './support/bad-line.ts';
import { contentsOf } from './support/contents.ts';
import { long } from './support/long.ts';
import { type TestServer, pgDumpFor, startServer } from './support/servers.ts';
import { seeded } from './support/torture-workload.ts';
import { WatchedJob } from './support/watched-job.ts';

// What a bad network does to each kind of connection, at the moment at which it matters. A slice in npm test, all of it in
// `npm run test:faults`.
const seed = Number(process.env['PGSLUICE_NETWORK_SEED'] ?? Math.floor(Math.random() * 1e9));
/** How long a line may be silent before it is asked about: the shortest there is, so that the tests need not wait long. */
const silenceMs = 1000;
/** Every job is over by then, whatever its network does. */
const boundMs = long ? 600_000 : 120_000;
/** A live job asks one thing after the other: at 600 ms a round trip one took 539 s. */
const slowBoundMs = 2 * boundMs;

const schema = `
  CREATE TABLE big (id int PRIMARY KEY, filler text);
  ALTER TABLE big ALTER filler SET STORAGE EXTERNAL;
  INSERT INTO big SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 4000) g;
  CREATE TABLE other (id int PRIMARY KEY, big int REFERENCES big, v numeric);
  INSERT INTO other SELECT g, g, g / 3.0 FROM generate_series(1, 2000) g;
  CREATE INDEX ON other (v);
  CREATE SEQUENCE counter; SELECT setval('counter', 42);
  CREATE VIEW seen AS SELECT count(*) FROM other;
  CREATE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 42';`;

let source: TestServer;
let target: TestServer;
let dir: string;
let pgBin: string;
let manager: JobManager;
let count = 0;
let archive: string;

beforeAll(async () => {
  [source, target] = await Promise.all([
    startServer({ name: 'network-source', settings: { wal_level: 'logical' } }),
    startServer({ name: 'network-target' }),
  ]);
  dir = await mkdtemp(join(tmpdir(), 'pgsluice-network-'));
  pgBin = dirname(await pgDumpFor(source.major, source.binDir));
  const logger = pino({ level: 'silent' });
  const state = join(dir, 'state');
  manager = await JobManager.open({ state, secretKey: null, concurrency: 8, pgBinDir: pgBin, logger, role: 'daemon' });
  await source.createDatabase('pattern');
  await source.run(schema, 'pattern');
  archive = await makeArchive();
  console.log(`seed ${seed}`);
});
afterAll(async () => {
  await manager?.stop('end of the tests');
  await Promise.all([source?.stop(), target?.stop()]);
  await rm(dir, { recursive: true, force: true });
});

type Kind = 'copy' | 'live' | 'export' | 'import';

/** The connections that a fault meets, and when it does. */
interface Stage {
  readonly name: string;
  readonly kind: Kind;
  readonly side: 'source' | 'target';
  at(passage: Passage): boolean;
  /** Whom it meets, where that is not the connection by which the moment is known. */
  strikes?(passage: Passage): boolean;
}

const stages = {
  definitions: {
    name: 'pg_dump, while it reads the definitions',
    kind: 'copy',
    side: 'source',
    at: ({ name, toClient }) => name.startsWith('pgsluice dump') && toClient > 4000,
  },
  reading: {
    name: 'the source, while a table is read',
    kind: 'copy',
    side: 'source',
    at: ({ name, toClient }) => name.startsWith('pgsluice copy') && toClient > 800_000,
  },
  writing: {
    name: 'the target, while a table is written',
    kind: 'copy',
    side: 'target',
    at: ({ name, toServer }) => name.startsWith('pgsluice copy') && toServer > 800_000,
  },
  snapshot: {
    name: 'the source, which keeps the snapshot',
    kind: 'copy',
    side: 'source',
    at: ({ name, toClient }) => name.startsWith('pgsluice copy') && toClient > 400_000,
    strikes: ({ name }) => name.startsWith('pgsluice snapshot'),
  },
  building: {
    name: 'the target, while the definitions are restored',
    kind: 'copy',
    side: 'target',
    at: ({ name, toServer }) => name.startsWith('pgsluice schema') && toServer > 3600,
  },
  comparing: {
    name: 'the target, while both sides are compared',
    kind: 'copy',
    side: 'target',
    at: ({ name, toServer }) => name.startsWith('pgsluice verify') && toServer > 4000,
  },
  dumping: {
    name: 'pg_dump, while it reads the rows of an export',
    kind: 'export',
    side: 'source',
    at: ({ name, toClient }) => name.startsWith('pgsluice export') && toClient > 800_000,
  },
  loading: {
    name: 'the target, while an archive is loaded',
    kind: 'import',
    side: 'target',
    at: ({ name, toServer }) => name.startsWith('pgsluice copy') && toServer > 800_000,
  },
  describing: {
    name: 'pg_dump, while a live job reads the definitions',
    kind: 'live',
    side: 'source',
    at: ({ name, toClient }) => name.startsWith('pgsluice dump') && toClient > 4000,
  },
  slot: {
    name: 'the source, while a live job reads a table',
    kind: 'live',
    side: 'source',
    at: ({ name, replication, toClient }) => !replication && name.startsWith('pgsluice copy') && toClient > 800_000,
  },
  streaming: {
    name: 'replication, while changes are streamed',
    kind: 'live',
    side: 'source',
    at: ({ replication, toClient }) => replication && toClient > 150_000,
  },
  applying: {
    name: 'the target, while changes are applied',
    kind: 'live',
    side: 'target',
    at: ({ name, toServer }) => name.startsWith('pgsluice apply') && toServer > 100_000,
  },
} as const satisfies Readonly<Record<string, Stage>>;

const faults = {
  'is hung up': (passage: Passage) => passage.hangUp(),
  'is reset': (passage: Passage) => passage.reset(),
  'falls silent': (passage: Passage) => passage.silence(),
  'is stuck': (passage: Passage) => passage.stick(),
} as const;

/** Goes on by itself, or ends with one of these errors and goes on when a person retries. */
type Outcome = 'goes on' | readonly string[];

interface Case {
  readonly stage: keyof typeof stages;
  readonly fault: keyof typeof faults;
  readonly outcome: Outcome;
  /** Part of npm test. */
  readonly always?: true;
}

const anew = ['SNAPSHOT_GONE', 'CONNECTION_LOST', 'TABLES_FAILED'];
const cases: readonly Case[] = [
  { stage: 'definitions', fault: 'is hung up', outcome: 'goes on' },
  { stage: 'definitions', fault: 'is reset', outcome: 'goes on' },
  { stage: 'definitions', fault: 'falls silent', outcome: 'goes on', always: true },
  { stage: 'reading', fault: 'is hung up', outcome: 'goes on' },
  { stage: 'reading', fault: 'is reset', outcome: 'goes on', always: true },
  { stage: 'reading', fault: 'falls silent', outcome: 'goes on' },
  { stage: 'writing', fault: 'is hung up', outcome: 'goes on' },
  { stage: 'writing', fault: 'is reset', outcome: 'goes on' },
  { stage: 'writing', fault: 'falls silent', outcome: 'goes on', always: true },
  { stage: 'reading', fault: 'is stuck', outcome: 'goes on' },
  { stage: 'writing', fault: 'is stuck', outcome: 'goes on' },
  { stage: 'applying', fault: 'is stuck', outcome: 'goes on' },
  { stage: 'snapshot', fault: 'is hung up', outcome: anew },
  { stage: 'snapshot', fault: 'is reset', outcome: anew },
  { stage: 'snapshot', fault: 'falls silent', outcome: anew, always: true },
  { stage: 'building', fault: 'is hung up', outcome: ['CONNECTION_LOST'] },
  { stage: 'building', fault: 'is reset', outcome: ['CONNECTION_LOST'] },
  { stage: 'building', fault: 'falls silent', outcome: ['CONNECTION_LOST'] },
  { stage: 'comparing', fault: 'is hung up', outcome: ['CONNECTION_LOST'] },
  { stage: 'comparing', fault: 'is reset', outcome: ['CONNECTION_LOST'] },
  { stage: 'comparing', fault: 'falls silent', outcome: ['CONNECTION_LOST'] },
  { stage: 'dumping', fault: 'is hung up', outcome: 'goes on' },
  { stage: 'dumping', fault: 'is reset', outcome: 'goes on' },
  { stage: 'dumping', fault: 'falls silent', outcome: 'goes on' },
  { stage: 'loading', fault: 'is hung up', outcome: 'goes on' },
  { stage: 'loading', fault: 'is reset', outcome: 'goes on' },
  { stage: 'loading', fault: 'falls silent', outcome: 'goes on' },
  { stage: 'describing', fault: 'is hung up', outcome: 'goes on' },
  { stage: 'describing', fault: 'is reset', outcome: 'goes on' },
  { stage: 'describing', fault: 'falls silent', outcome: 'goes on' },
  { stage: 'slot', fault: 'is hung up', outcome: 'goes on' },
  { stage: 'slot', fault: 'is reset', outcome: 'goes on' },
  { stage: 'slot', fault: 'falls silent', outcome: 'goes on' },
  { stage: 'streaming', fault: 'is hung up', outcome: 'goes on' },
  { stage: 'streaming', fault: 'is reset', outcome: 'goes on', always: true },
  { stage: 'streaming', fault: 'falls silent', outcome: 'goes on' },
  { stage: 'applying', fault: 'is hung up', outcome: 'goes on' },
  { stage: 'applying', fault: 'is reset', outcome: 'goes on' },
  { stage: 'applying', fault: 'falls silent', outcome: 'goes on' },
];

interface Scene {
  readonly job: WatchedJob;
  /** Proves the end by a reader of its own. */
  prove(): Promise<void>;
  close(): Promise<void>;
}

/** A line that is slow and no worse is judged by what holds where nobody says how long it may be silent. */
function through(url: string, line: BadLine, isSlow: boolean): string {
  const parsed = new URL(url);
  parsed.port = String(line.port);
  return `${parsed.href}?sslmode=disable${isSlow ? '' : `&tcp_user_timeout=${silenceMs}`}`;
}

async function makeArchive(): Promise<string> {
  const path = join(dir, 'archive');
  const job = await WatchedJob.start(manager, {
    kind: 'export',
    source: { url: source.url('pattern') },
    archive: { path },
  });
  expect((await job.bringToEnd(0)).view.state).toBe('completed');
  return path;
}

/** What stands of ours in one database of a server, other jobs being at work in others. */
async function leftOn(server: TestServer, database: string): Promise<string[]> {
  for (const until = Date.now() + 20_000; ;) {
    const rows = await server.query(
      `SELECT application_name AS name FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgsluice%'
       UNION ALL SELECT slot_name FROM pg_replication_slots WHERE database = current_database()
       UNION ALL SELECT pubname FROM pg_publication UNION ALL SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgsluice%'`,
      database,
    );
    if (rows.length === 0 || Date.now() > until) return rows.map((row) => String(row['name']));
    await sleep(200);
  }
}

/** A job of `kind` whose lines are in this weather; `onBytes` hears of each side's connections. */
async function play(
  kind: Kind,
  weather: Weather,
  onBytes: (side: 'source' | 'target', passage: Passage, passages: readonly Passage[]) => void = () => undefined,
): Promise<Scene> {
  count += 1;
  const name = `network_${count}`;
  const sourceUrl = await source.createDatabase(name, 'TEMPLATE pattern');
  const targetUrl = await target.createDatabase(name);
  const [sourceLine, targetLine] = await Promise.all([
    startBadLine(source.port, weather, (passage, passages) => onBytes('source', passage, passages)),
    startBadLine(target.port, weather, (passage, passages) => onBytes('target', passage, passages)),
  ]);
  // With more than half a second a round trip the default does not last for what comes before the fence: it is rolled back, and says so.
  const cutoverTimeout = (weather.delayMs ?? 0) < 300 ? 60 : 300;
  const isSlow = Object.keys(weather).length > 0;
  const from = { url: through(sourceUrl, sourceLine, isSlow) };
  const to = { url: through(targetUrl, targetLine, isSlow) };
  const options = { tableJobs: 2, indexJobs: 2 };
  const path = join(dir, name);
  const requests: Record<Kind, () => Promise<JobRequestInput>> = {
    copy: () => Promise.resolve({ source: from, target: to, options: { ...options, method: 'copy' } }),
    live: () => Promise.resolve({ source: from, target: to, options: { ...options, method: 'live', cutoverTimeout } }),
    export: () => Promise.resolve({ kind: 'export', source: from, archive: { path }, options }),
    import: () => Promise.resolve({ kind: 'import', target: to, archive: { path: archive }, options }),
  };
  const request = await requests[kind]();
  const job = await WatchedJob.start(manager, request);
  const stop = new AbortController();
  // A live job has something to stream until it cuts over.
  const writing =
    kind === 'live'
      ? (async () => {
          for (let at = 1; !stop.signal.aborted; at += 1) {
            const sql = `INSERT INTO other SELECT 1000000 + ${at} * 100 + g, g, ${at} FROM generate_series(1, 50) g; UPDATE big SET filler = filler || 'x' WHERE id % 100 = ${at % 100}`;
            await source.run(sql, name).catch(() => stop.abort());
            await sleep(50);
          }
        })()
      : Promise.resolve();
  return {
    job,
    prove: async () => {
      stop.abort();
      await writing;
      if (kind === 'export') {
        const back = await WatchedJob.start(manager, {
          kind: 'import',
          target: { url: targetUrl },
          archive: { path },
        });
        await back.bringToEnd(0);
      }
      expect([...(await contentsOf(target, name))]).toEqual([...(await contentsOf(source, name))]);
      expect([await leftOn(source, name), await leftOn(target, name)]).toEqual([[], []]);
    },
    close: async () => {
      stop.abort();
      await writing;
      await Promise.all([sourceLine.close(), targetLine.close()]);
    },
  };
}

const outcomeWords = (outcome: Outcome): string =>
  outcome === 'goes on' ? 'the job goes on by itself' : 'the job ends with the reason, and a retry goes on';

/** The end of a job, with what a person had to do for it, and why. @throws with all that was told when it does not come in time. */
async function boundedEnd(job: WatchedJob, ms = boundMs): Promise<{ view: JobView; acts: string[]; errors: string[] }> {
  const bound = new AbortController();
  const late = sleep(ms, undefined, { signal: bound.signal }).then(
    () => Promise.reject(new Error(`no end in ${ms} ms\n${told(job)}`)),
    () => Promise.reject(new Error('in time')),
  );
  try {
    const { view, acts } = await Promise.race([job.bringToEnd(6, ms), late]);
    if (view.state !== 'completed') throw new Error(`${view.state}: ${view.summary}\n${told(job)}`);
    const errors = job.events.flatMap((event) =>
      event.type === 'result' && event.error !== null ? [event.error.code] : [],
    );
    return { view, acts: acts.filter((act) => act !== 'cutover'), errors };
  } finally {
    bound.abort();
    await late.catch(() => undefined);
  }
}

/** What is told while nothing moves, and why a person was needed. */
function told(job: WatchedJob): string {
  const waits = job.events.flatMap((event) => (event.type === 'metric' ? [event.waiting?.what ?? ''] : []));
  return `${job.log()}\n${[...new Set(waits)].join('\n')}`;
}

describe.concurrent('a connection', () => {
  const some = cases.filter((one) => long || one.always === true);
  test.each(some.map((one) => ({ ...one, of: stages[one.stage].name, end: outcomeWords(one.outcome) })))(
    'of $of $fault: $end',
    async ({ stage, fault, outcome }) => {
      const place: Stage = stages[stage];
      let struckAt = 0;
      const scene = await play(place.kind, {}, (side, passage, passages) => {
        if (struckAt > 0 || side !== place.side || !place.at(passage)) return;
        struckAt = Date.now();
        for (const met of place.strikes === undefined
          ? [passage]
          : passages.filter((each) => place.strikes?.(each) === true))
          faults[fault](met);
      });
      try {
        const { acts, errors } = await boundedEnd(scene.job);
        expect(struckAt, 'the fault came').toBeGreaterThan(0);
        console.log(
          `${stage} ${fault}: ${acts.join(' ') || 'by itself'} ${errors.join(' ')} ${Date.now() - struckAt} ms`,
        );
        expect(acts, told(scene.job)).toEqual(outcome === 'goes on' ? [] : ['retry']);
        expect(outcome === 'goes on' ? [] : outcome).toEqual(expect.arrayContaining(errors.slice(0, 1)));
        // A table that was cut off is read again under the snapshot that still stands, so that all are of one moment.
        const moments = scene.job.log().match(/Snapshot \S+ taken/g)?.length ?? 0;
        const oneMoment = place.kind !== 'copy' || outcome !== 'goes on' || moments === 1;
        expect(oneMoment, told(scene.job)).toBe(true);
        await scene.prove();
      } finally {
        await scene.close();
      }
    },
    boundMs + 120_000,
  );
});

const weathers: readonly { readonly name: string; readonly weather: Weather; readonly kinds: readonly Kind[] }[] = [
  { name: '80 ms each way', weather: { delayMs: 80 }, kinds: long ? ['copy', 'live', 'export', 'import'] : [] },
  { name: '300 ms each way', weather: { delayMs: 300 }, kinds: long ? ['copy', 'live', 'export', 'import'] : [] },
  {
    name: '400 KB/s',
    weather: { bytesPerSecond: 400_000 },
    kinds: long ? ['copy', 'live', 'export', 'import'] : [],
  },
  {
    name: 'chunks of random size at random times',
    weather: { jitter: seeded(seed) },
    kinds: long ? ['copy', 'live', 'export', 'import'] : ['export'],
  },
];
const slow = weathers.flatMap(({ name, weather, kinds }) => kinds.map((kind) => ({ name, weather, kind })));

describe.concurrent('a slow line', () => {
  test.each(slow)(
    'of a job that is $kind, with $name: it goes on, slower',
    async ({ kind, weather }) => {
      const began = Date.now();
      const scene = await play(kind, weather);
      try {
        const { acts, view } = await boundedEnd(scene.job, slowBoundMs);
        expect({ verified: view.verified, acts }, told(scene.job)).toEqual({ verified: true, acts: [] });
        // A line that is slow is not taken for a dead one.
        expect(scene.job.log()).not.toContain('the connection is dead');
        console.log(`${kind} in ${JSON.stringify(weather)}: ${Date.now() - began} ms`);
        await scene.prove();
      } finally {
        await scene.close();
      }
    },
    slowBoundMs + 120_000,
  );
});
