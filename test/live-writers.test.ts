import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import type { JobView } from '../src/contract/job.ts';
import type { Report } from '../src/contract/report.ts';
import { startDaemon } from './support/daemon.ts';
import { startServer } from './support/servers.ts';

// An application that goes on writing through a cutover. PGSLUICE_CUTOVER_MB=1000 repeats it on a database of 1 GB.
const megabytes = Number(process.env['PGSLUICE_CUTOVER_MB'] ?? 40);
const perSecond = 500;
const writers = 10;

interface Writer {
  readonly id: number;
  acknowledged: number;
  /** Writes that were refused, and then repeated on the target. */
  refused: number;
  repeated: number;
  /** When the write began that is not acknowledged yet, ms. */
  since: number | null;
}

interface App {
  readonly all: Writer[];
  stopped: boolean;
}

/** Writes numbered rows; one that got no answer is written again with the same number where the application was sent. */
async function write(app: App, writer: Writer, place: () => string): Promise<void> {
  let client: Client | null = null;
  let connectedTo = '';
  while (!app.stopped || writer.since !== null) {
    const url = place();
    try {
      if (client === null || connectedTo !== url) {
        await client?.end().catch(() => undefined);
        client = new Client({ connectionString: url, application_name: `app ${writer.id}` });
        client.on('error', () => undefined);
        await client.connect();
        connectedTo = url;
      }
      const startedAt = Date.now();
      writer.since ??= startedAt;
      const number = writer.acknowledged + 1;
      await client.query('BEGIN');
      await client.query('UPDATE balance SET amount = amount + 1 WHERE id = $1', [1 + (number % 1000)]);
      await client.query('INSERT INTO ledger (writer, number, note) VALUES ($1, $2, $3)', [
        writer.id,
        number,
        'n'.repeat(40),
      ]);
      await client.query('COMMIT');
      writer.acknowledged = number;
      writer.since = null;
      await sleep(Math.max(0, (writers * 1000) / perSecond - (Date.now() - startedAt)));
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : '';
      writer.refused += 1;
      if (code === '23505') writer.repeated += 1;
      await client?.end().catch(() => undefined);
      client = null;
      await sleep(20);
    }
  }
  await client?.end();
}

test(`${perSecond} transactions a second through a cutover of ${megabytes} MB: none is lost, none is repeated, seconds of waiting`, async () => {
  const settings = { log_min_messages: 'fatal', max_wal_size: '4GB', synchronous_commit: 'on' };
  const [source, target] = await Promise.all([
    startServer({ name: 'app-source', settings: { ...settings, wal_level: 'logical' } }),
    startServer({ name: 'app-target', settings }),
  ]);
  const state = await mkdtemp(join(tmpdir(), 'pgsluice-app-'));
  const daemon = await startDaemon(state);
  /** ms that the write had waited which waited longest when the target took over. */
  let waited: number | null = null;
  let place = await source.createDatabase('app');
  const targetUrl = await target.createDatabase('app');
  const hook = createServer((_request, response) => {
    waited ??= Date.now() - Math.min(...app.all.map((writer) => writer.since ?? Date.now()));
    place = targetUrl;
    response.end('thanks');
  });
  hook.listen(0, '127.0.0.1');
  await once(hook, 'listening');
  const address = hook.address();
  if (address === null || typeof address === 'string') throw new Error('the hook has no port');
  const app: App = {
    stopped: false,
    all: Array.from({ length: writers }, (_, id) => ({ id, acknowledged: 0, refused: 0, repeated: 0, since: null })),
  };
  let running: Promise<unknown> = Promise.resolve();
  try {
    await source.run(
      `CREATE TABLE balance (id int PRIMARY KEY, amount bigint NOT NULL);
         INSERT INTO balance SELECT g, 0 FROM generate_series(1, 1000) g;
         CREATE TABLE ledger (writer int, number int, note text, PRIMARY KEY (writer, number));
         CREATE TABLE ballast (id bigint PRIMARY KEY, body text NOT NULL, at timestamptz NOT NULL);
         INSERT INTO ballast SELECT g, repeat(md5(g::text), 15), now() FROM generate_series(1, ${megabytes * 1700}) g;
         CREATE INDEX ON ballast (at);
         ALTER TABLE ledger ADD COLUMN balance int REFERENCES balance DEFAULT 1;
         ANALYZE`,
      'app',
    );
    running = Promise.all(app.all.map((writer) => write(app, writer, () => place)));
    const created = (await daemon.api('/api/jobs', {
      method: 'POST',
      body: {
        source: { url: source.url('app') },
        target: { url: targetUrl },
        options: {
          method: 'live',
          cutover: 'auto',
          handOver: { webhook: `http://127.0.0.1:${address.port}/` },
        },
        start: true,
      },
    })) as JobView;
    let view = created;
    const until = Date.now() + 600_000;
    while (!['completed', 'failed', 'cancelled', 'paused', 'blocked'].includes(view.state)) {
      if (Date.now() > until) throw new Error(`still ${view.state}: ${view.summary}`);
      await sleep(300);
      view = (await daemon.api(`/api/jobs/${created.id}`)) as JobView;
    }
    const log = JSON.stringify(await daemon.api(`/api/jobs/${created.id}/logs`), null, 1).slice(-4000);
    // The application works on the target for a while.
    await sleep(1000);
    app.stopped = true;
    await running;
    expect(view.state, log).toBe('completed');
    expect(view.verified, log).toBe(true);
    const report = (await daemon.api(`/api/jobs/${created.id}/report`)) as Report;

    const rows = await target.query(
      'SELECT writer, count(*)::int AS n, max(number)::int AS last FROM ledger GROUP BY 1 ORDER BY 1',
      'app',
    );
    expect(rows).toEqual(app.all.map((w) => ({ writer: w.id, n: w.acknowledged, last: w.acknowledged })));
    expect(app.all.reduce((sum, writer) => sum + writer.repeated, 0)).toBe(0);
    const total = app.all.reduce((sum, writer) => sum + writer.acknowledged, 0);
    const [sum] = await target.query('SELECT sum(amount)::int AS amount FROM balance', 'app');
    expect(sum?.['amount']).toBe(total);
    // Nothing was written to the source once the target had taken over.
    const [old] = await source.query('SELECT count(*)::int AS n FROM ledger', 'app');
    expect(Number(old?.['n'])).toBeLessThan(total);
    expect(app.all.some((writer) => writer.refused > 0)).toBe(true);
    expect(report.cutover?.downtimeMs).toBeGreaterThan(0);
    console.log(
      `${megabytes} MB: the application waited ${waited} ms, the agent tells ${report.cutover?.downtimeMs} ms; ${total} transactions`,
      report.cutover?.steps.map((step) => `${step.step} ${step.ms}`).join(', '),
    );
    expect(waited).toBeLessThan(3000);
  } finally {
    app.stopped = true;
    place = targetUrl;
    await running.catch(() => undefined);
    hook.close();
    await daemon.stop();
    await Promise.all([source.stop(), target.stop()]);
    await rm(state, { recursive: true, force: true });
  }
}, 900_000);
