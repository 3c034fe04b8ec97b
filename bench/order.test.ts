import { expect, test } from 'vitest';
import { orderOf } from './order.ts';

test.each([
  [1, 2],
  [4, 4],
  [5, 10],
  [6, 6],
])('of %i tools each follows each other one equally often in %i rounds', (count, rounds) => {
  const tools = Array.from({ length: count }, (_, at) => `tool ${at}`);
  const pairs = new Map<string, number>();
  for (let round = 0; round < rounds; round += 1) {
    const order = orderOf(tools, round);
    expect(order.toSorted()).toEqual(tools);
    for (const [at, name] of order.entries()) {
      if (at === 0) continue;
      const pair = `${order[at - 1]} > ${name}`;
      pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
    }
  }
  expect(pairs.size).toBe(count * (count - 1));
  expect(new Set(pairs.values()).size).toBeLessThanOrEqual(1);
});

test('nobody takes part in nothing', () => {
  expect(orderOf([], 3)).toEqual([]);
});
