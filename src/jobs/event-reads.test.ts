import { expect, test } from 'vitest';
import type { JobEvent } from '../contract/event.ts';
import { EventReads } from './event-reads.ts';

const event = (seq: number, message = 'x'): JobEvent => ({ seq, at: '', type: 'log', level: 'info', message });

class SlowStore {
  last = 10_000;
  first = 1;
  running = 0;
  most = 0;
  readonly read: (jobId: string, after: number, limit: number) => Promise<JobEvent[]>;
  readonly asked: string[] = [];

  constructor(message = 'x') {
    this.read = async (jobId, after, limit) => {
      this.asked.push(`${jobId} ${after}`);
      return await this.#slowly(() => {
        const from = Math.max(after + 1, this.first);
        const count = Math.max(0, Math.min(limit, this.last - from + 1));
        return Array.from({ length: count }, (_, i) => event(from + i, message));
      });
    };
  }

  async bounds(jobId: string): Promise<{ first: number; last: number }> {
    this.asked.push(`${jobId} bounds`);
    return await this.#slowly(() => ({ first: this.first, last: this.last }));
  }

  async #slowly<T>(answer: () => T): Promise<T> {
    this.running += 1;
    this.most = Math.max(this.most, this.running);
    const value = answer();
    await new Promise((resolve) => setTimeout(resolve, 5));
    this.running -= 1;
    return value;
  }
}

const never = (): AbortSignal => new AbortController().signal;
const at = (after: number, version = 0) => ({ after, limit: 1_000, version });

test('a thousand who follow cost one read a place, few at once, and read all of it', async () => {
  const store = new SlowStore();
  const reads = new EventReads(store, { atOnce: 2 });
  const follow = async (): Promise<number> => {
    let cursor = 0;
    while (cursor < store.last) {
      const batch = await reads.read('job', at(cursor), never());
      expect(batch[0]?.seq).toBe(cursor + 1);
      cursor = batch.at(-1)?.seq ?? 0;
    }
    return cursor;
  };
  const ends = await Promise.all(Array.from({ length: 1_000 }, follow));
  expect(new Set(ends)).toEqual(new Set([10_000]));
  expect(store.asked).toHaveLength(10);
  await Promise.all(Array.from({ length: 50 }, (_, n) => reads.read(`job ${n}`, at(0), never())));
  expect(store.asked).toHaveLength(60);
  expect(store.most).toBe(2);
});

test('whoever has seen a newer version is not given an answer that was begun before', async () => {
  const store = new SlowStore();
  store.last = 5;
  const reads = new EventReads(store, { atOnce: 4 });
  const early = reads.read('job', at(5, 1), never());
  await new Promise((resolve) => setTimeout(resolve, 2));
  store.last = 6;
  expect(await reads.read('job', at(5, 2), never())).toHaveLength(1);
  expect(await early).toHaveLength(0);
  expect(await reads.read('job', at(6, 2), never())).toHaveLength(0);
});

test('those who go away leave no reads behind, and take none from those who stay', async () => {
  const store = new SlowStore();
  const reads = new EventReads(store, { atOnce: 1 });
  const goers = Array.from({ length: 500 }, (_, i) => ({ gone: new AbortController(), after: i }));
  const left = goers.map(({ gone, after }) => reads.read('job', at(after), gone.signal));
  const staying = reads.read('job', at(499), never());
  for (const { gone } of goers) gone.abort();
  expect((await Promise.all(left)).every((batch) => batch.length === 0)).toBe(true);
  expect(await staying).toHaveLength(1_000);
  expect(store.asked.length).toBeLessThanOrEqual(2);
  expect(await reads.read('job', at(3), never())).toHaveLength(1_000);
});

test('what is kept is bounded, and nothing of a forgotten job', async () => {
  const store = new SlowStore('y'.repeat(900));
  const reads = new EventReads(store, { atOnce: 1, keepCharacters: 3_000_000 });
  for (let after = 0; after < 10_000; after += 1_000) await reads.read('job', at(after), never());
  const asked = store.asked.length;
  await reads.read('job', at(9_000), never());
  await reads.read('job', at(8_000), never());
  expect(store.asked).toHaveLength(asked);
  await reads.read('job', at(0), never());
  expect(store.asked).toHaveLength(asked + 1);
  reads.forget('job');
  await reads.read('job', at(9_000), never());
  expect(store.asked).toHaveLength(asked + 2);
});

test('events behind a gap are not kept for others, and bounds are as old as is allowed', async () => {
  const store = new SlowStore();
  store.first = 501;
  const reads = new EventReads(store, { atOnce: 1 });
  for (let n = 0; n < 2; n += 1) expect((await reads.read('job', at(0), never()))[0]?.seq).toBe(501);
  expect(store.asked).toEqual(['job 0', 'job 0']);
  store.asked.length = 0;
  const ask = (maxAgeMs: number) => reads.bounds('job', { version: 0, maxAgeMs }, never());
  for (let n = 0; n < 20; n += 1) expect(await ask(60_000)).toEqual({ first: 501, last: 10_000 });
  expect(store.asked).toHaveLength(1);
  await ask(0);
  expect(store.asked).toHaveLength(2);
});
