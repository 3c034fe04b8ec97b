import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { Valve } from './valve.ts';

test('a stream is read only when every reason has been taken back, in whatever order', () => {
  const stream = new PassThrough();
  stream.resume();
  const valve = new Valve(stream);
  valve.set('rate', false);
  expect(stream.isPaused()).toBe(false);
  valve.set('full', true);
  valve.set('paused', true);
  valve.set('full', false);
  expect(stream.isPaused()).toBe(true);
  expect(valve.shutBy('paused')).toBe(true);
  valve.set('paused', false);
  expect(stream.isPaused()).toBe(false);
});
