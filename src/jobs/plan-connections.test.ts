import { expect, test } from 'vitest';
import { planConnections } from './plan-connections.ts';

const options = { tableJobs: 4, indexJobs: 4 };

test.each([
  [0, 1],
  [1, 1],
  [2, 2],
  [8, 8],
  [9, 8],
  [10, 9],
  [11, 10],
  [500, 10],
])('%i available: %i are used', (available, used) => {
  expect(planConnections({ source: available, target: available }, options)).toEqual({ source: used, target: used });
});

test('the sides are planned apart', () => {
  expect(planConnections({ source: 2, target: 90 }, { tableJobs: 16, indexJobs: 8 })).toEqual({
    source: 2,
    target: 26,
  });
});

test('a live run leaves room for the watch over its slot and for short questions', () => {
  expect(planConnections({ source: 9, target: 5 }, options, 'live')).toEqual({ source: 6, target: 4 });
  expect(planConnections({ source: 500, target: 500 }, options, 'live')).toEqual({ source: 10, target: 10 });
  expect(planConnections({ source: 1, target: 1 }, options, 'live')).toEqual({ source: 1, target: 1 });
});
