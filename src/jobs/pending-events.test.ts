import { expect, test } from 'vitest';
import type { JobEventBody, TableProgress } from '../contract/event.ts';
import { PendingEvents } from './pending-events.ts';

const table = (name: string, rows: number): JobEventBody => ({
  type: 'table',
  table: { schema: 's', name, state: 'copying', rows } as TableProgress,
});
const log = (message: string): JobEventBody => ({ type: 'log', level: 'info', message });
const push = (events: PendingEvents, body: JobEventBody) => events.push({ at: '', body, json: '' });
const label = (body: JobEventBody) =>
  body.type === 'table' ? `${body.table.name}=${body.table.rows}` : body.type === 'log' ? body.message : body.type;

test('keeps everything in order while few wait', () => {
  const events = new PendingEvents(10);
  for (let n = 1; n <= 3; n += 1) push(events, table('a', n));
  expect(events.take(10).map((e) => label(e.body))).toEqual(['a=1', 'a=2', 'a=3']);
  expect(events.size).toBe(0);
});

test('when many wait, the newest progress of a table wins and no log is lost', () => {
  const events = new PendingEvents(2);
  push(events, log('one'));
  push(events, table('a', 1));
  push(events, table('b', 1));
  push(events, table('a', 2));
  push(events, log('two'));
  push(events, table('a', 3));
  expect(events.size).toBe(4);
  expect(events.take(10).map((e) => label(e.body))).toEqual(['one', 'b=1', 'two', 'a=3']);
});

test('an event that was taken is not replaced, and later ones still coalesce', () => {
  const events = new PendingEvents(1);
  push(events, table('a', 1));
  push(events, log('one'));
  expect(events.take(1).map((e) => label(e.body))).toEqual(['a=1']);
  push(events, table('a', 2));
  push(events, table('a', 3));
  push(events, table('a', 4));
  expect(events.take(10).map((e) => label(e.body))).toEqual(['one', 'a=4']);
});

test('memory is bounded by tables and logs, whatever the number of updates', () => {
  const events = new PendingEvents(500);
  for (let n = 0; n < 100_000; n += 1) push(events, table(`t${n % 50}`, n));
  expect(events.size).toBeLessThanOrEqual(501);
  expect(events.take(1000).at(-1)?.body).toEqual(table('t49', 99_999));
});

test('a batch ends at its length, and what waits is known in characters', () => {
  const events = new PendingEvents(2);
  for (let n = 0; n < 6; n += 1) events.push({ at: '', body: log(`${n}`), json: 'x'.repeat(100) });
  expect(events.characters).toBe(600);
  expect(events.take(10, 250)).toHaveLength(3);
  expect(events.take(1, 0)).toHaveLength(0);
  expect([events.size, events.characters]).toEqual([3, 300]);
  for (let n = 0; n < 4; n += 1) events.push({ at: '', body: table('t', n), json: 'y'.repeat(10) });
  expect(events.characters).toBe(310);
  events.take(10);
  expect([events.size, events.characters]).toEqual([0, 0]);
});
