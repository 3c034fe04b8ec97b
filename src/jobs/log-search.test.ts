import { expect, test } from 'vitest';
import type { JobEvent, LogLevel } from '../contract/event.ts';
import type { StoredBatch } from '../store/event-queries.ts';
import { batchMatcher, searchLog, type LogSource } from './log-search.ts';

const event = (seq: number, message = `line ${seq}`, level: LogLevel = 'info'): JobEvent => ({
  seq,
  at: '',
  type: 'log',
  level,
  message,
});

function sourceOf(events: readonly JobEvent[], perBatch: number): LogSource & { reads: number } {
  const batches: StoredBatch[] = [];
  for (let i = 0; i < events.length; i += perBatch) {
    const some = events.slice(i, i + perBatch);
    batches.push({ firstSeq: some[0]?.seq ?? 0, lastSeq: some.at(-1)?.seq ?? 0, events: JSON.stringify(some) });
  }
  const source = {
    reads: 0,
    last: events.at(-1)?.seq ?? 0,
    read: async (after: number, count: number): Promise<StoredBatch[]> => {
      source.reads += 1;
      return batches.filter(({ lastSeq }) => lastSeq > after).slice(0, Math.ceil(count / perBatch));
    },
  };
  return source;
}

const all = { after: 0, limit: 10_000, level: 'debug', search: null } as const;

test('pages without gap or double, wherever they end', async () => {
  const events = Array.from({ length: 5_000 }, (_, i) => event(i + 1));
  for (const limit of [1, 7, 333, 10_000]) {
    const source = sourceOf(events, 64);
    const seen: number[] = [];
    let after: number | null = 4_000;
    while (after !== null) {
      const page = await searchLog(source, { ...all, after, limit }, 1_000);
      seen.push(...page.events.map(({ seq }) => seq));
      after = page.next;
    }
    expect(seen).toEqual(Array.from({ length: 1_000 }, (_, i) => 4_001 + i));
  }
});

test('a search that takes too long says how far it came, and can go on to the end', async () => {
  const events = Array.from({ length: 20_000 }, (_, i) => event(i + 1, i === 19_990 ? 'the Needle' : 'straw'));
  const source = sourceOf(events, 500);
  let after: number | null = 0;
  let pages = 0;
  const found: number[] = [];
  while (after !== null) {
    const before: number = after;
    const page = await searchLog(source, { ...all, after, search: 'needle' }, -1);
    pages += 1;
    expect(page.next ?? Infinity).toBeGreaterThan(before);
    found.push(...page.events.map(({ seq }) => seq));
    after = page.next;
  }
  expect(found).toEqual([19_991]);
  expect(pages).toBe(10);
});

test('levels and texts are found whatever their case and characters', async () => {
  const messages = ['Ärger', 'tab\there "q" back\\slash', 'emoji 🐘 x', 'plain', 'A.B', '%_'];
  const events = messages.map((message, i) => event(i + 1, message, i % 2 === 0 ? 'warn' : 'debug'));
  const find = async (search: string | null, level: LogLevel = 'debug'): Promise<number[]> =>
    (await searchLog(sourceOf(events, 2), { ...all, search, level }, 1_000)).events.map(({ seq }) => seq);
  expect(await find('ärGER')).toEqual([1]);
  expect(await find('\there "Q" BACK\\sl')).toEqual([2]);
  expect(await find('🐘')).toEqual([3]);
  expect(await find('a.b')).toEqual([5]);
  expect(await find('%_')).toEqual([6]);
  expect(await find('')).toHaveLength(6);
  expect(await find(null, 'warn')).toEqual([1, 3, 5]);
  expect(await find(null, 'error')).toEqual([]);
});

test('what a batch cannot hold is told without parsing it', () => {
  const text = JSON.stringify([event(1, 'Copied public.Orders')]);
  expect(batchMatcher({ level: 'debug', search: 'PUBLIC.ORDERS' })(text)).toBe(true);
  expect(batchMatcher({ level: 'debug', search: 'customers' })(text)).toBe(false);
  expect(batchMatcher({ level: 'warn', search: null })(text)).toBe(false);
  expect(batchMatcher({ level: 'info', search: null })(text)).toBe(true);
});
