import { expect, test } from 'vitest';
import type { JobEventBody } from '../contract/event.ts';
import { tellDropped } from './replace.ts';

function told(dropped: readonly string[]): string[] {
  const events: JobEventBody[] = [];
  tellDropped({ emit: (event) => void events.push(event) }, dropped);
  return events.map((event) => (event.type === 'log' ? `${event.level} ${event.message}` : event.type));
}

test('what was dropped is named; where nothing was, nothing is said', () => {
  expect(told([])).toEqual([]);
  expect(told(['table public.t'])).toEqual(['warn Dropped 1 object on the target: table public.t']);
  const [many] = told(Array.from({ length: 25 }, (_, at) => `table t${at}`));
  expect(many).toMatch(/^warn Dropped 25 objects on the target: table t0, .*, table t19, …$/);
});
