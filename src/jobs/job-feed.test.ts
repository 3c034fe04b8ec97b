import { expect, test } from 'vitest';
import type { JobEvent } from '../contract/event.ts';
import { JobFeed } from './job-feed.ts';

const event = (seq: number): JobEvent => ({ seq, at: '', type: 'log', level: 'info', message: `${seq}` });
const range = (first: number, count: number): JobEvent[] => Array.from({ length: count }, (_, i) => event(first + i));

test('readers at the same place are given one array until there is more', () => {
  const feed = new JobFeed();
  feed.open(0);
  feed.push(range(1, 10), Array<number>(10).fill(50));
  const first = feed.after(3, 1_000);
  expect(first?.map(({ seq }) => seq)).toEqual([4, 5, 6, 7, 8, 9, 10]);
  expect(feed.after(3, 1_000)).toBe(first);
  feed.push([event(11)], [50]);
  expect(feed.after(3, 1_000)?.at(-1)?.seq).toBe(11);
  expect(first).toHaveLength(7);
});

test('the ring holds few events when they are large, and never none', () => {
  const feed = new JobFeed();
  feed.open(0);
  for (let seq = 1; seq <= 200; seq += 1) feed.push([event(seq)], [100_000]);
  expect(feed.after(0, 1_000)).toBeNull();
  expect(feed.after(199, 1_000)?.map(({ seq }) => seq)).toEqual([200]);
  let held = 200;
  while (feed.after(held - 1, 1_000) !== null) held -= 1;
  expect(200 - held).toBeGreaterThan(30);
  expect(200 - held).toBeLessThanOrEqual(80);

  feed.push([event(201)], [50_000_000]);
  expect(feed.after(200, 1_000)?.map(({ seq }) => seq)).toEqual([201]);
});

test('the ring holds few events when they are many', () => {
  const feed = new JobFeed();
  feed.open(0);
  for (let seq = 1; seq <= 20_000; seq += 100) feed.push(range(seq, 100), Array<number>(100).fill(10));
  expect(feed.after(15_999, 1)).toBeNull();
  expect(feed.after(18_000, 1_000)?.map(({ seq }) => seq)).toEqual(range(18_001, 1_000).map(({ seq }) => seq));
});
