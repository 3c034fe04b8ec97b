import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Guardrail } from '../src/contract/live.ts';
import { LiveMonitor } from '../src/live/monitor.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { long } from './support/long.ts';
import { startRoughLine } from './support/rough-line.ts';
import { startServer } from './support/servers.ts';

// What is measured goes on, whoever does not answer.

const calm: Guardrail = { id: 'lag', state: 'ok', found: 'None.', remedy: '' };

async function until(what: string, ms: number, ask: () => boolean): Promise<void> {
  const end = Date.now() + ms;
  while (!ask()) {
    if (Date.now() > end) throw new Error(`waited ${ms / 1000} s for ${what}`);
    await sleep(50);
  }
}

test('the slot is judged and the lag measured while the guardrails, and then the source line, are silent', async () => {
  const server = await startServer({ name: 'monitor', settings: { wal_level: 'logical' } });
  const line = await startRoughLine(server.port);
  const over = new AbortController();
  const logged: string[] = [];
  const verdicts: string[] = [];
  const url = new URL(await server.createDatabase('shop'));
  url.port = String(line.port);
  let stands = false;
  let asked = 0;
  let answer = (): Promise<readonly Guardrail[]> => Promise.resolve([calm]);
  const monitor = new LiveMonitor({
    source: parseEndpoint({ url: url.href }, 'source'),
    slot: 'watched',
    limits: { warnBytes: 4 << 20, giveUpBytes: 32 << 20 },
    followed: {
      connected: true,
      done: null,
      counts: { inserts: 0, updates: 0, deletes: 0, truncates: 0, transactions: 0 },
      spooledBytes: 0,
    },
    signal: over.signal,
    slotStands: () => stands,
    readGuardrails: () => {
      asked += 1;
      return answer();
    },
    onSlot: ({ verdict }) => verdicts.push(verdict),
    log: (_level, message) => logged.push(message),
  });
  const write = (): Promise<void> =>
    server.run(
      'DROP TABLE IF EXISTS w; CREATE TABLE w AS SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 20000) g',
      'shop',
    );
  const running = monitor.run();
  try {
    // A slot that is still being made is not lost.
    await until('the guardrails', 10_000, () => monitor.guardrails.length > 0);
    expect(verdicts).toEqual([]);
    await server.query(`SELECT pg_create_logical_replication_slot('watched', 'pgoutput')`, 'shop');
    stands = true;
    await until('the slot', 10_000, () => verdicts.at(-1) === 'ok');
    expect(monitor.read().lagBytes).toBeLessThan(1 << 20);

    let free = (): void => undefined;
    answer = () =>
      new Promise((_resolve, reject) => {
        free = () => reject(new Error('The target went away.'));
      });
    const before = asked;
    await until('a question that is not answered', 10_000, () => asked > before);
    await write();
    await until('a warning', 10_000, () => verdicts.at(-1) === 'warn');
    expect(monitor.read().lagBytes).toBeGreaterThan(4 << 20);
    await until('the silence to be told', 20_000, () => monitor.guardrails[0]?.state === 'waits');
    expect(monitor.guardrails[0]?.found).toContain('The target does not answer');
    expect(asked).toBe(before + 1);
    answer = () => Promise.resolve([calm]);
    free();
    await until('the guardrails again', 10_000, () => monitor.guardrails[0] === calm);
    expect(logged).toEqual(['The conditions of a cutover cannot be read for the moment: The target went away.']);

    // Twenty seconds of silence are for the long run.
    if (long) line.freeze();
    for (let more = 0; more < 4; more += 1) await write();
    await until('the limit to be seen', 40_000, () => verdicts.at(-1) === 'give-up');
    const silence = 'The source cannot be measured for the moment: The source has not answered for 20 s.';
    expect(logged.slice(1)).toEqual(long ? [silence] : []);
  } finally {
    over.abort(new Error('the test is over'));
    await running;
    await line.close();
    await server.stop();
  }
}, 120_000);
