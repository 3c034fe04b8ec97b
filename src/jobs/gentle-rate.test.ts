import { expect, test } from 'vitest';
import { FIRST_RATE, GentleRate, harmOf, median } from './gentle-rate.ts';

const look = (commits: number, answerMs = 1) => ({ commits, answerMs });

test('the rate goes down while the source gets less done, and up again when it does not', () => {
  const rate = new GentleRate(null);
  rate.rested(look(1000));
  expect(rate.worked(look(850), true)).toBe(FIRST_RATE);
  expect(rate.worked(look(900), true)).toBe(FIRST_RATE * 0.6);
  expect(rate.worked(look(950), true)).toBe(FIRST_RATE * 0.6);
  expect(rate.worked(look(999), true)).toBe(Math.round(FIRST_RATE * 0.6 * 1.3));
});

test('a loss that nobody would bear needs no second look', () => {
  const rate = new GentleRate(null);
  rate.rested(look(1000));
  expect(rate.worked(look(700), true)).toBe(FIRST_RATE * 0.6);
});

test('it goes up by much until the source shows that it was too much', () => {
  const rate = new GentleRate(null);
  rate.rested(look(1000));
  expect(rate.worked(look(1000), true)).toBe(FIRST_RATE * 2);
  expect(rate.worked(look(1000), true)).toBe(FIRST_RATE * 4);
  expect(rate.worked(look(500), true)).toBe(FIRST_RATE * 4 * 0.6);
  expect(rate.worked(look(1000), true)).toBe(Math.round(FIRST_RATE * 4 * 0.6 * 1.3));
});

test('a loss that does not end while the job rests is not made longer by a lower rate', () => {
  const aged = new GentleRate(null, look(1500));
  aged.rested(look(1000));
  for (let turn = 0; turn < 10; turn += 1) aged.worked(look(800), true);
  expect(aged.rate).toBe(FIRST_RATE);
  const fresh = new GentleRate(null, look(1010));
  fresh.rested(look(1000));
  for (let turn = 0; turn < 10; turn += 1) fresh.worked(look(800), true);
  expect(fresh.rate).toBe(1e6);
});

test('where others come and go by themselves the rate is not lowered to nothing', () => {
  const rate = new GentleRate(50e6);
  let noise = 4711;
  const random = (): number => {
    noise = (noise * 1103515245 + 12345) % 2 ** 31;
    return 1 + (noise / 2 ** 31 - 0.5) * 0.3;
  };
  let sum = 0;
  for (let turn = 0; turn < 400; turn += 1) {
    rate.rested(look(1000 * random()));
    sum += rate.worked(look(1000 * random()), true);
  }
  expect(sum / 400).toBeGreaterThan(FIRST_RATE);
});

test('it settles where about a twentieth is lost, whatever a byte costs', () => {
  for (const cost of [1e-9, 5e-9, 5e-8]) {
    const rate = new GentleRate(null);
    let noise = 12345;
    const random = (): number => {
      noise = (noise * 1103515245 + 12345) % 2 ** 31;
      return 1 + (noise / 2 ** 31 - 0.5) * 0.03;
    };
    for (let turn = 0; turn < 80; turn += 1) {
      rate.rested(look(1000 * random()));
      rate.worked(look(1000 * Math.max(0, 1 - rate.rate * cost) * random()), true);
    }
    expect(rate.rate * cost, `${cost}`).toBeGreaterThan(0.015);
    expect(rate.rate * cost, `${cost}`).toBeLessThan(0.1);
  }
});

test('a source that nobody uses is judged by its answers alone', () => {
  expect(harmOf([look(0, 1.2)], [look(2, 1)])).toBe('room');
  expect(harmOf([look(0, 9)], [look(2, 1)])).toBe('too much');
  // An answer that has 40 ms to travel is not slow for 5 ms more.
  expect(harmOf([look(0, 45)], [look(0, 40)])).toBe('room');
});

test('it exceeds what was asked for at no time, and is not raised where it was not used', () => {
  const rate = new GentleRate(1e6);
  expect(rate.rate).toBe(1e6);
  rate.rested(look(0));
  expect(rate.worked(look(0), true)).toBe(1e6);
  const unused = new GentleRate(null);
  unused.rested(look(0));
  expect(unused.worked(look(0), false)).toBe(FIRST_RATE);
  // Nothing to compare with yet.
  expect(new GentleRate(null).worked(look(10), true)).toBe(FIRST_RATE);
});

test('it never stops altogether', () => {
  const rate = new GentleRate(null);
  rate.rested(look(1000));
  for (let turn = 0; turn < 100; turn += 1) rate.worked(look(10), true);
  expect(rate.rate).toBe(1e6);
});

test('the median of an even and an odd number', () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(median([])).toBeNaN();
});
