import { expect, test } from 'vitest';
import { FailureThrottle } from './throttle.ts';

function throttleAt(): { throttle: FailureThrottle; pass: (ms: number) => void } {
  let now = 1_000_000;
  return { throttle: new FailureThrottle(() => now), pass: (ms) => (now += ms) };
}

test('each wrong token waits longer than the one before, and after ten nobody listens for a growing while', () => {
  const { throttle, pass } = throttleAt();
  const delays = Array.from({ length: 10 }, () => throttle.failed('192.0.2.1'));
  expect(delays).toEqual([0, 0, 0, 100, 200, 400, 800, 1600, 2000, 2000]);
  expect(throttle.blockedMs('192.0.2.1')).toBe(5000);
  pass(5000);
  expect(throttle.blockedMs('192.0.2.1')).toBe(0);
  throttle.failed('192.0.2.1');
  expect(throttle.blockedMs('192.0.2.1')).toBe(10_000);
  for (let n = 0; n < 60; n += 1) throttle.failed('192.0.2.1');
  expect(throttle.blockedMs('192.0.2.1')).toBe(300_000);
});

test('no address is locked out for another, but the whole network of one IPv6 client is one', () => {
  const { throttle } = throttleAt();
  for (let n = 0; n < 20; n += 1) throttle.failed('192.0.2.1');
  expect(throttle.blockedMs('192.0.2.2')).toBe(0);
  for (let n = 0; n < 20; n += 1) throttle.failed(`2001:db8:0:1:0:0:0:${n}`);
  expect(throttle.blockedMs('2001:db8:0:1:ffff:0:0:1')).toBeGreaterThan(0);
  expect(throttle.blockedMs('2001:db8:0:2:0:0:0:1')).toBe(0);
});

test('it is forgotten after a quarter of an hour, and a flood of addresses takes no more memory', () => {
  const { throttle, pass } = throttleAt();
  for (let n = 0; n < 12; n += 1) throttle.failed('192.0.2.1');
  pass(900_001);
  expect(throttle.failed('192.0.2.1')).toBe(0);
  for (let n = 0; n < 25_000; n += 1) throttle.failed(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`);
  expect(throttle.size).toBe(10_000);
});
