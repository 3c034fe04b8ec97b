import { expect, test } from 'vitest';
import { JobOptions } from '../contract/options.ts';
import { mayBeginEarly } from './early-moment.ts';

const job = { goal: 'migrate', targetTouched: false, options: JobOptions.parse({}) } as const;
const many = { connectionsAvailable: 90 };

test('the source is read beside the checks by a plain copy alone', () => {
  expect(mayBeginEarly(job, many)).toBe(true);
  expect(mayBeginEarly({ ...job, goal: 'validate' }, many)).toBe(false);
  expect(mayBeginEarly({ ...job, targetTouched: true }, many)).toBe(false);
  const live = { method: 'live' } as const;
  const perhapsLive = { method: 'auto', cutover: 'auto' } as const;
  for (const change of [live, perhapsLive, { gentle: true }, { dataOnly: true }])
    expect(mayBeginEarly({ ...job, options: { ...job.options, ...change } }, many)).toBe(false);
});

test('nor where somebody may still say no, or connections are few', () => {
  const hook = { on: 'after-validate' as const, command: ['ask'], timeout: 60 };
  expect(mayBeginEarly({ ...job, options: { ...job.options, hooks: [hook] } }, many)).toBe(false);
  expect(mayBeginEarly({ ...job, options: { ...job.options, hooks: [{ ...hook, on: 'failed' }] } }, many)).toBe(true);
  expect(mayBeginEarly(job, { connectionsAvailable: 11 })).toBe(false);
});
