import { expect, test } from 'vitest';
import type { Guardrail } from '../contract/live.ts';
import { isCalm } from './calm.ts';

const ok: Guardrail = { id: 'lag', state: 'ok', found: 'No lag.', remedy: '' };
const waits: Guardrail = { id: 'long-writes', state: 'waits', found: 'Process 7 writes.', remedy: '' };
const at = (...seconds: number[]) => seconds.map((second) => ({ at: second * 1000, guardrails: [ok] }));

test('calm is five seconds of ok without a gap', () => {
  expect(isCalm(at(1, 2, 3, 4, 5, 6), 6000)).toEqual({ calm: true, why: '' });
  expect(isCalm(at(2, 3, 4, 5, 6), 6000)).toEqual({ calm: false, why: 'Calm for 4 of 5 s.' });
});

test('what is open now is the reason', () => {
  expect(isCalm([...at(1, 2, 3, 4, 5), { at: 6000, guardrails: [ok, waits] }], 6000)).toEqual({
    calm: false,
    why: 'Process 7 writes.',
  });
});

test('what was open a moment ago counts, and so does what nobody measured', () => {
  const history = [...at(1, 2), { at: 3000, guardrails: [ok, waits] }, ...at(4, 5, 6, 7)];
  expect(isCalm(history, 7000)).toEqual({ calm: false, why: 'Calm for 3 of 5 s.' });
  expect(isCalm(at(1, 2, 6, 7), 7000).why).toBe('Calm for 1 of 5 s.');
  expect(isCalm(at(1, 2, 3, 4, 5, 6), 12_000).why).toBe('The last reading is 6 s old.');
  expect(isCalm([], 0)).toEqual({ calm: false, why: 'Nothing was measured yet.' });
  expect(isCalm([{ at: 0, guardrails: [] }], 0).calm).toBe(false);
});
