import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Phase } from '../src/contract/event.ts';
import type { JobRequestInput } from '../src/contract/options.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { fillState } from './support/fresh-state.ts';
import { contentsOf } from './support/contents.ts';
import { lastingTraces } from './support/live-job.ts';
import { slice } from './support/long.ts';
import { type TestServer, startServer } from './support/servers.ts';
import { makeCertificates } from './support/tls.ts';
import { WatchedJob } from './support/watched-job.ts';

// Scalingo: port 31000, TLS from an authority of its own and enforced, an owner who is no superuser, and a change of plan that
// restarts a server in the middle. test/live-torture.test.ts restarts both sides under a load while following.

let source: TestServer;
let target: TestServer;
let folder: string;
let ca: string;
let manager: JobManager;
let number = 0;

/** The first free port from 31000 on, as Scalingo numbers them. */
async function freePort(from: number): Promise<number> {
  const free = await new Promise<boolean>((resolve) => {
    const probe = createServer().once('error', () => resolve(false));
    probe.listen(from, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
  return free ? from : freePort(from + 1);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pgsluice-scalingo-'));
  const certificates = await makeCertificates(join(folder, 'tls'));
  ca = certificates.ca;
  const ssl = { cert: certificates.cert, key: certificates.key };
  const hba = ['hostnossl all shop all reject'];
  [source, target] = await Promise.all([
    startServer({
      name: 'scalingo-source',
      port: await freePort(31_000),
      ssl,
      hba,
      settings: { wal_level: 'logical' },
    }),
    // What a crash may lose is not what is tried here.
    startServer({ name: 'scalingo-target', ssl, hba, settings: { synchronous_commit: 'on' } }),
  ]);
  const role = `CREATE ROLE shop LOGIN PASSWORD 'shop' NOSUPERUSER NOCREATEROLE`;
  await source.run(`${role} REPLICATION`);
  await target.run(role);
  const logger = pino({ level: 'silent' });
  await fillState(join(folder, 'state'));
  const config = { state: join(folder, 'state'), secretKey: null, concurrency: 2, pgBinDir: null, logger };
  manager = await JobManager.open({ ...config, role: 'daemon' });
});
afterAll(async () => {
  await manager?.stop('end of the test');
  await Promise.all([source?.stop(), target?.stop()]);
  await rm(folder, { recursive: true, force: true });
});

const verified = (url: string): string => `${url}?sslmode=verify-full&sslrootcert=${encodeURIComponent(ca)}`;

/** The application's tables belong to `shop`, who may create in the target's schema public and owns neither it nor its database. */
async function pair(): Promise<{ name: string; request: JobRequestInput }> {
  const name = `shop_${(number += 1)}`;
  await source.createDatabase(name, 'OWNER shop');
  await target.createDatabase(name);
  await source.run(
    `SET ROLE shop; CREATE TABLE customers (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE);
     CREATE TABLE orders (id bigserial PRIMARY KEY, customer bigint REFERENCES customers, note text);
     CREATE INDEX orders_note ON orders (note); CREATE VIEW totals AS SELECT customer, count(*) FROM orders GROUP BY 1;
     INSERT INTO customers (name) SELECT 'c' || i FROM generate_series(1, 5000) i;
     INSERT INTO orders (customer, note) SELECT i % 5000 + 1, 'n' || i FROM generate_series(1, 20000) i`,
    name,
  );
  await target.run(`GRANT CREATE ON SCHEMA public TO shop; GRANT CREATE ON DATABASE ${name} TO shop`, name);
  return {
    name,
    request: {
      source: { url: verified(source.url(name, 'shop', 'shop')) },
      target: { url: verified(target.url(name, 'shop', 'shop')) },
      options: { method: 'copy', noOwner: true, noAcl: true, tableJobs: 2, indexJobs: 2 },
    },
  };
}

async function expectMoved(name: string): Promise<void> {
  expect([...(await contentsOf(target, name))]).toEqual([...(await contentsOf(source, name))]);
  const [built] = await target.query(
    `SELECT count(*)::int AS n FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('i', 'v')`,
    name,
  );
  expect(built?.['n']).toBe(5);
  const broken = await target.query(`SELECT conname FROM pg_constraint WHERE NOT convalidated`, name);
  expect(broken).toEqual([]);
}

test('both sides are reached by TLS that is verified, as the role that a customer has', async () => {
  const { name, request } = await pair();
  const job = await WatchedJob.start(manager, request);
  const view = await job.settled();
  expect(view, job.log()).toMatchObject({ state: 'completed', verified: true, source: { sslmode: 'verify-full' } });
  const checks = await manager.checks(job.id);
  for (const id of ['connect.source', 'connect.target']) {
    expect(checks.find((check) => check.id === id)?.found).toContain('certificate and host name verified');
  }
  await expectMoved(name);
  const [owner] = await target.query(`SELECT tableowner FROM pg_tables WHERE tablename = 'orders'`, name);
  expect(owner).toEqual({ tableowner: 'shop' });
});

interface Restart {
  readonly side: 'source' | 'target';
  readonly phase: Phase;
  readonly how: 'fast' | 'immediate';
}

const restarts = (list: readonly (readonly [Phase, 'source' | 'target', 'fast' | 'immediate'])[]): Restart[] =>
  list.map(([phase, side, how]) => ({ phase, side, how }));

/** Restarts a server once, in the middle of a phase; ends when the server is back and the job is over. */
async function survive(
  request: JobRequestInput,
  { side, phase, how }: Restart,
): Promise<{ job: WatchedJob; acts: string[] }> {
  const server = side === 'source' ? source : target;
  const restarted: Promise<void>[] = [];
  const job = await WatchedJob.start(manager, request, (event) => {
    // In the middle of the checks, once both sides have answered.
    const begun =
      phase === 'validate'
        ? event.type === 'check' && event.check.id === 'connect.target'
        : event.type === 'phase' && event.phase === phase && event.status === 'started';
    if (begun && restarted.length === 0) restarted.push(server.restart(how));
  });
  const { view, acts } = await job.bringToEnd();
  expect(restarted, `the phase ${phase} was never begun`).toHaveLength(1);
  await Promise.all(restarted);
  expect(view, `${acts.join(' ')}\n${job.log()}`).toMatchObject({ state: 'completed', differences: 0 });
  await job.settled();
  return { job, acts };
}

describe('a copy survives a restart', () => {
  // Short: validate and copy for one, what is built for the other; test:faults has them all.
  const inShort: readonly string[] = [
    'validate source',
    'copy source',
    'copy target',
    'indexes target',
    'verify source',
  ];
  test.each(
    slice(
      restarts([
        ['validate', 'source', 'fast'],
        ['validate', 'target', 'immediate'],
        ['schema', 'target', 'fast'],
        ['copy', 'source', 'immediate'],
        ['copy', 'target', 'fast'],
        ['indexes', 'target', 'immediate'],
        ['constraints', 'source', 'fast'],
        ['sequences', 'target', 'fast'],
        ['analyze', 'target', 'immediate'],
        ['verify', 'source', 'fast'],
      ]),
      ({ phase, side }) => inShort.includes(`${phase} ${side}`),
    ),
  )('of the $side in the phase $phase ($how)', async (restart) => {
    const { name, request } = await pair();
    const { job, acts } = await survive(request, restart);
    expect(await job.view()).toMatchObject({ state: 'completed', verified: true });
    const inChecks = restart.phase === 'validate';
    expect(inChecks ? acts : [], job.log()).toEqual([]);
    expect(job.log()).toContain(inChecks ? `The ${restart.side} went away in the middle of the checks` : '');
    await expectMoved(name);
    expect(await lastingTraces(source, name)).toEqual([]);
  });
});

describe('a live job survives a restart', () => {
  test.each(
    slice(
      restarts([
        ['slot', 'source', 'fast'],
        ['copy', 'target', 'immediate'],
        ['follow', 'source', 'immediate'],
        ['follow', 'target', 'fast'],
        ['cutover', 'source', 'fast'],
        ['cutover', 'target', 'immediate'],
      ]),
      ({ phase, side }) => phase === 'cutover' || (phase === 'follow' && side === 'target'),
    ),
  )('of the $side in the phase $phase ($how)', async (restart) => {
    const { name, request } = await pair();
    await survive({ ...request, options: { ...request.options, method: 'live' } }, restart);
    await expectMoved(name);
    const slots = await source.query(`SELECT slot_name FROM pg_replication_slots`);
    expect(slots).toEqual([]);
    expect(await lastingTraces(target, name)).toEqual([]);
  });
});
