import { expect, test } from 'vitest';
import type { JobEvent, JobEventBody, TableProgress } from '../contract/event.ts';
import type { PgsluiceError } from '../errors.ts';
import type { EventBatch } from '../store/event-queries.ts';
import { EventLog } from './event-log.ts';
import { streamEvents } from './event-stream.ts';
import { JobFeed } from './job-feed.ts';
import { noTotals } from './totals.ts';

const log = (message: string): JobEventBody => ({ type: 'log', level: 'info', message });
const table = (name: string, rows: number): JobEventBody => ({
  type: 'table',
  table: { schema: 's', name, state: 'copying', rows } as TableProgress,
});

function memoryStore(delayMs = 0, patienceMs = 10_000) {
  const events: JobEvent[] = [];
  const batches: EventBatch[] = [];
  const feed = new JobFeed();
  const broken: PgsluiceError[] = [];
  let failures = 0;
  let lost = 0;
  let owned = true;
  const eventLog = new EventLog({
    jobId: 'j',
    ownerId: 'a',
    lastSeq: 0,
    totals: noTotals,
    feed,
    flushMs: 1,
    patienceMs,
    write: async (batch) => {
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      if (failures > 0) {
        failures -= 1;
        throw new Error('store is down');
      }
      if (!owned) return false;
      batches.push(batch);
      events.push(...(JSON.parse(batch.events) as JobEvent[]));
      if (lost > 0) {
        lost -= 1;
        throw new Error('the answer is lost');
      }
      return true;
    },
    storedSeq: () => Promise.resolve(events.at(-1)?.seq ?? 0),
    onBroken: (error) => broken.push(error),
    onStored: () => undefined,
  });
  const source = {
    feed,
    shared: false,
    read: (after: number, limit: number) => Promise.resolve(events.filter((e) => e.seq > after).slice(0, limit)),
    bounds: () => Promise.resolve({ first: events[0]?.seq ?? 1, last: events.at(-1)?.seq ?? 0 }),
  };
  return {
    events,
    batches,
    feed,
    broken,
    eventLog,
    source,
    fail: (times: number) => (failures = times),
    loseAnswers: (times: number) => (lost = times),
    disown: () => (owned = false),
  };
}

const gapless = (events: readonly { seq: number }[]) => events.every((event, i) => event.seq === i + 1);

test('seq is gapless although progress was coalesced, and what is stored is what was announced', async () => {
  const { eventLog, events, feed } = memoryStore();
  for (let n = 0; n < 5_000; n += 1) eventLog.emit(n % 5 === 0 ? log(`line ${n}`) : table(`t${n % 7}`, n));
  await eventLog.drain();
  expect(gapless(events)).toBe(true);
  expect(events.filter((e) => e.type === 'log')).toHaveLength(1_000);
  expect(events.length).toBeLessThan(5_000);
  expect(events.filter((e) => e.type === 'table').at(-1)).toMatchObject({ table: { rows: 4999 } });
  expect(feed.after(events.length - 100, 1_000)).toEqual(events.slice(-100));
  expect(eventLog.lastSeq).toBe(events.length);
});

test('readers that begin at any time see every event once, in order', async () => {
  const { eventLog, source, events, feed } = memoryStore(1);
  const total = 6_000;
  const read = async (after: number) => {
    const seen: number[] = [];
    for await (const batch of streamEvents(source, after, new AbortController().signal)) {
      for (const message of batch) if (message.type !== 'reset') seen.push(message.seq);
    }
    return seen;
  };
  const readers = [read(0), read(0)];
  for (let n = 0; n < total; n += 1) {
    eventLog.emit(log(`line ${n}`));
    if (n % 1_000 === 0) {
      await new Promise((resolve) => setTimeout(resolve, 3));
      readers.push(read(0));
    }
  }
  await eventLog.drain();
  expect(events).toHaveLength(total);
  feed.close();
  const wanted = events.map((event) => event.seq);
  for (const seen of await Promise.all(readers)) expect(seen).toEqual(wanted);
});

test('a reader whose place is no longer stored, or lies beyond the end, is told to begin anew', async () => {
  const { eventLog, source, events, feed } = memoryStore();
  for (let n = 0; n < 20; n += 1) eventLog.emit(log(`${n}`));
  await eventLog.close();
  events.splice(0, 10);
  for (const after of [3, 99]) {
    const first = await streamEvents(source, after, new AbortController().signal).next();
    expect(first.value).toEqual([{ type: 'reset', firstSeq: 11, lastSeq: 20 }]);
  }
  const kept = await streamEvents(source, 10, new AbortController().signal).next();
  expect(kept.value).toHaveLength(10);
  feed.close();
});

test('a store that fails for a moment loses and doubles nothing', async () => {
  const { eventLog, events, fail, broken } = memoryStore();
  eventLog.emit(log('a'));
  await eventLog.drain();
  fail(1);
  eventLog.emit(log('b'));
  await eventLog.drain();
  expect(events.map((e) => (e.type === 'log' ? e.message : ''))).toEqual(['a', 'b']);
  expect(broken).toEqual([]);
});

test('a batch that was stored though its answer was lost is not stored again', async () => {
  const { eventLog, events, batches, loseAnswers, broken } = memoryStore();
  loseAnswers(1);
  eventLog.emit(log('a'));
  await eventLog.drain();
  eventLog.emit(log('b'));
  await eventLog.drain();
  expect(events.map((e) => (e.type === 'log' ? `${e.seq} ${e.message}` : ''))).toEqual(['1 a', '2 b']);
  expect([batches.length, eventLog.lastSeq, broken]).toEqual([2, 2, []]);
});

test('nothing is announced before it is stored', async () => {
  const { eventLog, feed } = memoryStore(200);
  eventLog.emit(log('a'));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(feed.after(0, 10)).toBeNull();
  await eventLog.drain();
  expect(feed.after(0, 10)).toHaveLength(1);
});

test('what waits for a store that takes nothing is bounded, by number and by size', async () => {
  const many = memoryStore(3_600_000);
  for (let n = 0; n < 300_001; n += 1) many.eventLog.emit(log('x'));
  expect(many.broken).toEqual([]);
  for (let n = 0; n < 1_000; n += 1) many.eventLog.emit(log('x'));
  expect(many.broken).toMatchObject([{ code: 'STATE_TOO_SLOW', retryable: true }]);
  const large = memoryStore(3_600_000);
  const message = 'x'.repeat(64_000);
  for (let n = 0; n < 2_100 && large.broken.length === 0; n += 1) large.eventLog.emit(log(message));
  expect(large.broken).toMatchObject([{ code: 'STATE_TOO_SLOW' }]);
  expect([many.eventLog.pending, large.eventLog.pending]).toEqual([0, 0]);
});

test('a batch is small whatever the size of its events', async () => {
  const { eventLog, batches, events } = memoryStore();
  for (let n = 0; n < 60; n += 1) eventLog.emit(log('x'.repeat(64_000)));
  await eventLog.drain();
  expect(events).toHaveLength(60);
  expect(Math.max(...batches.map((batch) => batch.events.length))).toBeLessThan(1_100_000);
});

test('a store that stays away, or another owner, breaks the log once and releases who waits', async () => {
  const down = memoryStore(0, 300);
  down.fail(1_000);
  down.eventLog.emit(log('a'));
  await down.eventLog.drain();
  expect(down.broken.map((e) => e.code)).toEqual(['STATE_UNREACHABLE']);

  const taken = memoryStore();
  taken.disown();
  taken.eventLog.emit(log('a'));
  await taken.eventLog.drain();
  taken.eventLog.emit(log('b'));
  await taken.eventLog.close();
  expect(taken.broken.map((e) => e.code)).toEqual(['JOB_TAKEN_OVER']);
  expect(taken.events).toEqual([]);
});

test('totals, phase and the newest table progress go with the batch', async () => {
  const { eventLog, batches } = memoryStore();
  eventLog.emit({ type: 'phase', phase: 'copy', status: 'started', seconds: null, detail: '' });
  eventLog.emit(table('t', 1));
  eventLog.emit(table('t', 2));
  eventLog.emit({
    type: 'metric',
    tables: 2,
    tablesDone: 1,
    rows: 10,
    bytes: 100,
    fraction: 0.5,
    bytesPerSecond: 0,
    rowsPerSecond: 0,
    remaining: null,
    waiting: null,
  });
  await eventLog.drain();
  expect(batches).toHaveLength(1);
  expect(batches[0]).toMatchObject({
    phase: 'copy',
    tables: [{ name: 't', rows: 2 }],
    totals: { tables: 2, tablesDone: 1, rows: 10, fraction: 0.5 },
  });
});
