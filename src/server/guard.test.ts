import { pino } from 'pino';
import { expect, test } from 'vitest';
import { Guard, TooManyFailures } from './guard.ts';
import { FailureThrottle } from './throttle.ts';

const logger = pino({ level: 'silent' });

function guardOf(throttle = new FailureThrottle()): { guard: Guard; refusals: () => number } {
  let refusals = 0;
  const access = {
    bearerOf: () => Promise.resolve(null),
    stillHolding: () => Promise.resolve(new Set<string>()),
    record: () => {
      refusals += 1;
      return Promise.resolve();
    },
  };
  return { guard: new Guard({ token: 'right', access, logger, throttle }), refusals: () => refusals };
}

const addresses = (count: number): string[] => Array.from({ length: count }, (_, n) => `10.1.${n >> 8}.${n & 255}`);

test('answers that wait before they say no are bounded in number: beyond that it is said at once', async () => {
  const throttle = new FailureThrottle();
  const many = addresses(230);
  for (const address of many) for (let n = 0; n < 3; n += 1) throttle.failed(address);
  const { guard } = guardOf(throttle);
  const answers = await Promise.all(many.map((address) => guard.callerOf('wrong', address).catch((e: unknown) => e)));
  expect(answers.filter((answer) => answer instanceof TooManyFailures)).toHaveLength(30);
  expect(answers.filter((answer) => Reflect.get(Object(answer), 'code') === 'UNAUTHORIZED')).toHaveLength(200);
});

test('whoever guesses from many addresses does not fill the log of who did what', async () => {
  const { guard, refusals } = guardOf();
  const guesses = addresses(300).map((address) => guard.callerOf('wrong', address).catch(() => null));
  await Promise.all(guesses);
  expect(refusals()).toBeGreaterThanOrEqual(60);
  // A minute may have ended meanwhile.
  expect(refusals()).toBeLessThanOrEqual(120);
});
