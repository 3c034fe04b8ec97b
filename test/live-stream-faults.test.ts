import { mkdtempSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { ChangeStream } from '../src/live/types.ts';
import { parseLsn } from '../src/postgres/lsn.ts';
import { type Scene, linesOf, startScene, takeTransactions, takeUntil, until } from './support/change-scene.ts';
import { startProxy } from './support/proxy.ts';
import { startRoughLine } from './support/rough-line.ts';
import { type TestServer, findMajor, startServer } from './support/servers.ts';
import { makeCertificates } from './support/tls.ts';

// How the change stream begins and ends when something is wrong: never silently, never for ever, never with a change left out.

let server: TestServer;
let dir: string;
let scene: Scene | null = null;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'pgsluice-stream-'));
  const { cert, key } = await makeCertificates(dir);
  server = await startServer({
    name: 'stream-faults',
    ssl: { cert, key },
    settings: { wal_level: 'logical', logical_decoding_work_mem: '64kB' },
  });
});
afterEach(async () => {
  await scene?.close();
  scene = null;
});
afterAll(async () => {
  await server?.stop();
  await rm(dir, { recursive: true, force: true });
});

async function begin(ddl = 'CREATE TABLE t (id int PRIMARY KEY, v text)', extra?: string): Promise<Scene> {
  scene = await startScene(server, ddl, extra);
  return scene;
}

/** What ends the stream; it is taken from until then. */
async function endOf(stream: ChangeStream, ms = 30_000): Promise<unknown> {
  const signal = AbortSignal.timeout(ms);
  try {
    for (;;) await stream.take(1 << 20, signal);
  } catch (error) {
    return error;
  }
}

test('the connection is encrypted when the settings ask for it, and says whose it is', async () => {
  const { open, settings } = await begin();
  for (const sslmode of ['require', 'prefer', 'disable'] as const) {
    const stream = await open({ settings: { ...settings, sslmode } });
    const rows = await server.query(
      `SELECT s.ssl, r.application_name FROM pg_stat_replication r JOIN pg_stat_ssl s USING (pid)`,
    );
    expect(rows).toEqual([{ ssl: sslmode !== 'disable', application_name: 'pgsluice replication' }]);
    await stream.close();
  }
});

test('a setting that is refused, or not taken, fails the opening', async () => {
  const { open, settings, slotRow, run, database } = await begin();
  await run(`ALTER DATABASE ${database} SET datestyle = 'German'`);
  for (const { pattern, changed, times, error } of [
    { pattern: `'hex'`, changed: `'hox'`, times: 1, error: { code: 'SERVER_ERROR', retryable: false } },
    { pattern: `'datestyle'`, changed: `'datestylf'`, times: 1, error: { code: 'SETTINGS_REFUSED', retryable: false } },
    { pattern: `'datestyle'`, changed: `'datestylf'`, times: 9, error: { code: 'SETTINGS_REFUSED', retryable: false } },
    { pattern: `'extra_float_digits'`, changed: `'extra_float_digitz'`, times: 1, error: { code: 'SETTINGS_REFUSED' } },
  ]) {
    if (pattern.includes('float')) await run(`ALTER DATABASE ${database} SET extra_float_digits = 0`);
    let left = times;
    const proxy = await startProxy(
      server.port,
      () => false,
      (chunk) => {
        const at = chunk.indexOf(pattern);
        if (at < 0 || left === 0) return chunk;
        left -= 1;
        const copy = Buffer.from(chunk);
        copy.write(changed, at);
        return copy;
      },
    );
    const through = { ...settings, port: proxy.port, sslmode: 'disable' } as const;
    await expect(open({ settings: through })).rejects.toMatchObject(error);
    expect(left).toBeLessThan(times);
    await proxy.close();
    await until(async () => (await slotRow()).active_pid === null);
  }
});

test('a slot that another connection has is told with its process, to be tried again', async () => {
  const { open, slotRow, slot } = await begin();
  const first = await open();
  const { active_pid: pid } = await slotRow();
  expect(pid).not.toBeNull();
  await expect(open()).rejects.toMatchObject({
    code: 'SLOT_ACTIVE',
    retryable: true,
    message: `The replication slot "${slot}" of the source is in use by process ${pid}.`,
  });
  await first.close();
  await (await open()).close();
});

test('a slot that is gone is told as lost, before and while it is read', async () => {
  const { open, slot } = await begin();
  const stream = await open();
  const end = endOf(stream);
  await server.query(`SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '${slot}'`);
  expect(await end).toMatchObject({ code: 'CONNECTION_LOST', retryable: true });
  await until(async () => (await server.query('SELECT 1 FROM pg_replication_slots WHERE active')).length === 0);
  await server.query(`SELECT pg_drop_replication_slot('${slot}')`);
  const failure = { code: 'SLOT_LOST', retryable: false };
  await expect(open()).rejects.toMatchObject(failure);
});

test('a slot that max_slot_wal_keep_size invalidated is told as lost', async () => {
  const { open, run, slotRow } = await begin();
  const stream = await open();
  await stream.close();
  await server.run(`ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'`);
  await server.query('SELECT pg_reload_conf()');
  await until(async () => {
    await run('SELECT pg_switch_wal(); INSERT INTO t SELECT COALESCE(max(id), 0) + 1 FROM t');
    await server.run('CHECKPOINT');
    return (await slotRow()).wal_status === 'lost';
  });
  await expect(open()).rejects.toMatchObject({ code: 'SLOT_LOST', retryable: false });
  await server.run('ALTER SYSTEM RESET max_slot_wal_keep_size');
  await server.query('SELECT pg_reload_conf()');
});

test('a cut line ends the stream after what was received whole, and nothing is lost', async () => {
  const { open, settings, run } = await begin();
  const proxy = await startProxy(server.port);
  const stream = await open({ settings: { ...settings, port: proxy.port } });
  await run(`INSERT INTO t VALUES (1, 'a')`);
  const [first] = await takeTransactions(stream, 1);
  if (first !== undefined) stream.acknowledge(first.endLsn);
  await run(`INSERT INTO t VALUES (2, 'b')`);
  const waiting = endOf(stream);
  proxy.cut();
  expect(await waiting).toMatchObject({ retryable: true });
  await expect(stream.take(1, AbortSignal.timeout(5000))).rejects.toMatchObject({ retryable: true });
  await stream.close();
  const again = await open({ from: first?.endLsn ?? 0n });
  const [second] = await takeTransactions(again, 1);
  expect(second === undefined ? [] : await linesOf(second)).toEqual(['+t 2,b']);
  await proxy.close();
});

test('a line that says nothing any more ends the stream, though nobody was told', async () => {
  const { open, settings, run, slotRow } = await begin();
  const line = await startRoughLine(server.port);
  const stream = await open({ settings: { ...settings, port: line.port }, silenceMs: 2000 });
  // Longer than the silence that is borne: the source is asked, and answers.
  await new Promise((resolve) => setTimeout(resolve, 3500));
  await run(`INSERT INTO t VALUES (1, 'a')`);
  await takeTransactions(stream, 1);
  line.freeze();
  const frozenAt = Date.now();
  expect(await endOf(stream)).toMatchObject({ code: 'STREAM_SILENT', retryable: true });
  expect(Date.now() - frozenAt).toBeLessThan(8000);
  await stream.close();
  // What was silent once is given twice the time, so that a source that is only busy gets further.
  await until(async () => {
    await server.query('SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active');
    return (await slotRow()).active_pid === null;
  });
  const again = await open({ settings: { ...settings, port: line.port }, silenceMs: 2000 });
  line.freeze();
  const frozenAgainAt = Date.now();
  expect(await endOf(again)).toMatchObject({ code: 'STREAM_SILENT' });
  expect(Date.now() - frozenAgainAt).toBeGreaterThan(3500);
  await line.close();
});

test('while nobody takes, memory stays bounded and the source is told that we live', async () => {
  const { open, run, database, slotRow } = await begin();
  await run(`ALTER DATABASE ${database} SET wal_sender_timeout = '2s'`);
  const stream = await open({ queueBytes: 256 * 1024 });
  const { active_pid: pid } = await slotRow();
  const before = process.memoryUsage().arrayBuffers;
  for (let part = 0; part < 60; part++) {
    await run(`INSERT INTO t SELECT g, repeat('x', 500) FROM generate_series(${part * 100}, ${part * 100 + 99}) g`);
  }
  await run(`INSERT INTO t SELECT g, repeat(md5(g::text), 30) FROM generate_series(10000, 40000) g`);
  await new Promise((resolve) => setTimeout(resolve, 6500));
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(24 << 20);
  const [behind] = await server.query('SELECT pg_current_wal_lsn() - sent_lsn AS bytes FROM pg_stat_replication');
  expect(Number(behind?.['bytes'])).toBeGreaterThan(1 << 20);
  expect((await slotRow()).active_pid).toBe(pid);
  const taken = await takeTransactions(stream, 61);
  let rows = 0;
  for (const transaction of taken) for (const text of await linesOf(transaction)) rows += text.startsWith('+t') ? 1 : 0;
  expect(rows).toBe(36_001);
  expect((await slotRow()).active_pid).toBe(pid);
});

test('a signal ends a waiting take, and the whole stream', async () => {
  const { open } = await begin();
  const whole = new AbortController();
  const stream = await open({ signal: whole.signal });
  await expect(
    (async () => {
      for (;;) await stream.take(1, AbortSignal.timeout(200));
    })(),
  ).rejects.toMatchObject({ code: 'CANCELLED' });
  const waiting = endOf(stream);
  whole.abort('the job was cancelled by a test');
  expect(await waiting).toMatchObject({ code: 'CANCELLED', message: 'the job was cancelled by a test' });
});

test('a publication that is gone ends the stream for good', async (context) => {
  for (const major of [server.major, 18]) {
    const search = await findMajor(major);
    if (major !== server.major && search.binDir === null) context.skip(search.reason);
    const other =
      major === server.major
        ? server
        : await startServer({ name: 'stream-new', binDir: search.binDir ?? '', settings: { wal_level: 'logical' } });
    const lost = await startScene(other, 'CREATE TABLE t (id int)');
    await lost.run(`DROP PUBLICATION ${lost.slot}; INSERT INTO t VALUES (1)`);
    const stream = await lost.open();
    await other.run('CHECKPOINT');
    expect(await endOf(stream)).toMatchObject({ code: 'PUBLICATION_LOST', retryable: false });
    await lost.close();
    if (other !== server) await other.stop();
  }
});

test('bytes that are no text are refused, not replaced', async () => {
  const { open, run } = await begin(
    'CREATE TABLE t (id int, v text)',
    `ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0`,
  );
  const stream = await open();
  await run(`INSERT INTO t VALUES (1, '\uFFFD is a character like others')`);
  const [fine] = await takeTransactions(stream, 1);
  expect(fine === undefined ? [] : await linesOf(fine)).toEqual(['+t 1,\uFFFD is a character like others']);
  await run(`SET client_encoding = 'SQL_ASCII'; INSERT INTO t VALUES (2, E'\\xe9t\\xe9')`);
  expect(await endOf(stream)).toMatchObject({ code: 'SERVER_ERROR', retryable: false, cause: { code: '22021' } });
});

test('a disk that cannot be written to ends the stream, to be tried again', async () => {
  const { open, run, workDir } = await begin();
  await writeFile(join(workDir, 'file'), '');
  await expect(open({ workDir: join(workDir, 'file') })).rejects.toMatchObject({
    code: 'SPOOL_FAILED',
    retryable: true,
  });
  const gone = join(workDir, 'gone');
  const stream = await open({ workDir: gone, spoolAboveBytes: 100_000 });
  await rm(gone, { recursive: true });
  await run(`INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g`);
  expect(await endOf(stream)).toMatchObject({ code: 'SPOOL_FAILED', retryable: true });
  await stream.close();
  const again = await open({ workDir: gone, spoolAboveBytes: 100_000 });
  const [transaction] = await takeTransactions(again, 1);
  expect(transaction?.changeCount).toBe(20_000);
});

test('the source can shut down though nothing is acknowledged to it, and the stream goes on afterwards', async () => {
  const { open, run } = await begin();
  const reading = await open();
  await run(`INSERT INTO t VALUES (1, 'a')`);
  await takeTransactions(reading, 1);
  const startedAt = Date.now();
  const end = endOf(reading);
  await server.halt('fast');
  expect(Date.now() - startedAt).toBeLessThan(20_000);
  expect(await end).toMatchObject({ code: 'CONNECTION_LOST', retryable: true });
  await server.start();
  const again = await open();
  const items = await takeUntil(again, (all) => all.some((item) => item.kind === 'transaction'));
  const lines = await Promise.all(
    items.flatMap((item) => (item.kind === 'transaction' ? [linesOf(item.transaction)] : [])),
  );
  expect(lines).toEqual([['+t 1,a']]);
  const [now] = await server.query('SELECT pg_current_wal_lsn()::text AS lsn');
  expect(parseLsn(String(now?.['lsn']))).toBeGreaterThan(0n);
});
