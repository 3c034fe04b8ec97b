import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { LIVE_CONNECTIONS } from '../src/checks/headroom.ts';
import { type Daemon, startDaemon } from './support/daemon.ts';
import { LiveJob } from './support/live-job.ts';
import { startServer } from './support/servers.ts';

// The connections that validation asks for are those with which a job comes to its end, and not one more.

const SHOP = `
CREATE TABLE a (id int PRIMARY KEY, v text);
INSERT INTO a SELECT g, md5(g::text) FROM generate_series(1, 20000) g;
CREATE TABLE b (id int PRIMARY KEY REFERENCES a, v text);
INSERT INTO b SELECT g, md5(g::text) FROM generate_series(1, 20000) g;
CREATE INDEX ON a (v); CREATE INDEX ON b (v); CREATE INDEX ON a (v, id);`;

test('with exactly the connections it asks for a live job comes to its end, and with one less it is not begun', async () => {
  const [source, target] = await Promise.all([
    startServer({ name: 'conn-source', settings: { wal_level: 'logical' } }),
    startServer({ name: 'conn-target' }),
  ]);
  const state = await mkdtemp(join(tmpdir(), 'pgsluice-conn-'));
  let daemon: Daemon | null = null;
  try {
    const limit = (server: typeof source, count: number): Promise<void> =>
      server.run(`ALTER ROLE limited CONNECTION LIMIT ${count}`);
    for (const server of [source, target]) {
      await server.run(`CREATE ROLE limited LOGIN REPLICATION PASSWORD 'limited'`);
      await server.createDatabase('shop', 'OWNER limited');
    }
    await source.run(`ALTER SCHEMA public OWNER TO limited; SET ROLE limited; ${SHOP}`, 'shop');
    const agent = await startDaemon(state);
    daemon = agent;
    const urls = [source.url('shop', 'limited', 'limited'), target.url('shop', 'limited', 'limited')] as const;
    await limit(source, LIVE_CONNECTIONS.source - 1);
    await limit(target, LIVE_CONNECTIONS.target);
    const refused = await LiveJob.start(() => agent, ...urls, { cutover: 'manual' });
    const blocked = await refused.untilState(['blocked', 'following']);
    expect(blocked).toMatchObject({ state: 'blocked', error: { code: 'CONNECTIONS_TOO_FEW' } });
    expect(blocked.error?.hint).toContain(`ALTER ROLE "limited" CONNECTION LIMIT ${LIVE_CONNECTIONS.source};`);

    await limit(source, LIVE_CONNECTIONS.source);
    const job = await LiveJob.start(() => agent, ...urls, { cutover: 'manual', tableJobs: 4, indexJobs: 4 });
    await job.untilCaughtUp();
    await source.run(`UPDATE a SET v = 'x' WHERE id % 2 = 0`, 'shop');
    await job.act('cutover');
    await job.until('the cutover', (view) => !['following', 'cutting_over'].includes(view.state));
    const end = await job.untilState(['completed', 'failed', 'paused']);
    const log = await job.log();
    if (end.state !== 'completed') throw new Error(`${end.state} ${end.error?.message}\n${log}`);
    expect(end.verified).toBe(true);
    expect(log).not.toMatch(/too many connections/i);
    expect(log).not.toContain('rolled back');
    const contents = `SELECT md5(string_agg(a::text, ',' ORDER BY id)) AS a FROM a`;
    expect(await target.query(contents, 'shop')).toEqual(await source.query(contents, 'shop'));
  } finally {
    await daemon?.kill9();
    await Promise.all([source.stop(), target.stop()]);
    await rm(state, { recursive: true, force: true });
  }
}, 240_000);
