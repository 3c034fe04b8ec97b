import { expect, test } from 'vitest';
import type { JobEventBody } from '../contract/event.ts';
import { UnderWay } from './under-way.ts';

const index = (name: string, state: 'building' | 'built' | 'failed'): JobEventBody => ({
  type: 'index',
  kind: 'INDEX',
  schema: 's',
  table: 't',
  name,
  state,
  seconds: 0,
});

test('what is built is named until the last of it has ended', () => {
  const under = new UnderWay();
  expect(under.words).toBe('');
  expect(['a', 'b', 'c', 'd'].map((name) => under.note(index(name, 'building')))).toEqual([false, false, false, false]);
  expect(under.words).toBe(' The target first comes to the end of what it builds now: s.a, s.b, s.c and 1 more.');
  expect(['a', 'b', 'c'].map((name) => under.note(index(name, 'built')))).toEqual([false, false, false]);
  expect(under.note(index('d', 'failed'))).toBe(true);
  expect(under.words).toBe('');
  expect(under.note(index('d', 'built'))).toBe(false);
});
