import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Report } from '../src/contract/report.ts';
import { contentsOf } from './support/contents.ts';
import { type Daemon, startDaemon } from './support/daemon.ts';
import { LiveJob, lastingTraces } from './support/live-job.ts';
import { slice } from './support/long.ts';
import { findMajor, pgDumpFor, startServer } from './support/servers.ts';
import { startWriters, tortureSchema } from './support/torture-workload.ts';

// One live migration between every pair of majors that people move between, with the types and tables that lose data elsewhere.

const pairs = [
  [15, 15],
  [15, 17],
  [17, 18],
  [14, 18],
] as const;

let state: string;
let daemon: Daemon;

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'pgsluice-majors-'));
  await Promise.all(pairs.flat().map((major) => findMajor(major)));
  // The newest client programs that are to be had: a newer pg_dump reads every older server.
  const client = await pgDumpFor(18, null).catch(() => null);
  daemon = await startDaemon(state, 0, client === null ? {} : { PGSLUICE_PG_BIN: dirname(client) });
});
afterAll(async () => {
  await daemon?.stop();
  await rm(state, { recursive: true, force: true });
});

// 15 to 15 is what every other live test has; that and the nearest step are for the long run.
for (const [from, to] of slice(pairs, ([older, newer]) => newer - older > 1)) {
  test(`live from ${from} to ${to}`, async (context) => {
    const searches = await Promise.all([findMajor(from), findMajor(to)]);
    const missing = searches.find((search) => search.binDir === null);
    if (missing !== undefined) context.skip(missing.reason);
    const client = await pgDumpFor(Math.max(from, to), searches[1].binDir).catch(() => null);
    if (client === null) context.skip(`no pg_dump of major ${Math.max(from, to)}`);
    const [source, target] = await Promise.all([
      startServer({
        name: `live-${from}`,
        binDir: searches[0].binDir ?? '',
        settings: { wal_level: 'logical', logical_decoding_work_mem: '64kB' },
      }),
      startServer({ name: `live-${to}`, binDir: searches[1].binDir ?? '' }),
    ]);
    let writers: ReturnType<typeof startWriters> | null = null;
    try {
      const sourceUrl = await source.createDatabase('majors');
      await source.run(tortureSchema, 'majors');
      const targetUrl = await target.createDatabase('majors');
      writers = startWriters(sourceUrl, 3, from * 100 + to);
      const job = await LiveJob.start(() => daemon, sourceUrl, targetUrl);
      await job.untilCaughtUp();
      await new Promise((resolve) => setTimeout(resolve, 2000));
      await job.untilCaughtUp();
      await job.act('cutover');
      const done = await job.untilState(['completed', 'failed', 'paused', 'following']);
      await writers.stop();
      const log = (await job.log()).slice(-3000);
      expect(done.state, log).toBe('completed');
      const report = (await daemon.api(`/api/jobs/${job.id}/report`)) as Report;
      expect(report.verification?.differences, log).toEqual([]);
      expect(done.verified, log).toBe(true);
      expect(done.live?.applied.updates ?? 0).toBeGreaterThan(0);
      expect([...(await contentsOf(target, 'majors'))]).toEqual([...(await contentsOf(source, 'majors'))]);
      expect(await lastingTraces(target, 'majors')).toEqual([]);
      // Writes stay refused on the source: the job's report says how to allow them again.
      expect(await lastingTraces(source, 'majors', 5000)).toEqual(['setting default_transaction_read_only=on']);
      expect(report.todo.join(' ')).toContain('RESET default_transaction_read_only');
    } finally {
      await writers?.stop();
      await Promise.all([source.stop(), target.stop()]);
    }
  });
}
