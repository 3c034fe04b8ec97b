import { type TestFunction, test } from 'vitest';

/**
 * `npm test` has minutes for everything, so it tries a slice of what takes long, and cases that prove in another place what one of its
 * others has proved. `npm run test:faults` sets PGSLUICE_TEST_LONG=1 and tries all of it. What is left to it is not registered.
 */
export const long = process.env['PGSLUICE_TEST_LONG'] === '1';

/** All cases in a long run, else those for which `short` holds. */
export function slice<T>(cases: readonly T[], short: (one: T, at: number) => boolean): T[] {
  return cases.filter((one, at) => long || short(one, at));
}

/** Every `n`th case, the first one included. */
export const every =
  (n: number) =>
  (_case: unknown, at: number): boolean =>
    at % n === 0;

/** A test of the long run alone. */
export const longTest: (name: string, body: TestFunction, timeout?: number) => void = long ? test : () => undefined;
