import { expect, test } from 'vitest';
import { cacheControlOf, pagePolicy } from './static.ts';

test('only names that carry a hash of their content are kept for good', () => {
  expect(cacheControlOf('/assets/index-BfD3kq9_.js')).toContain('immutable');
  expect(cacheControlOf('/assets/logo.svg')).toBe('no-cache');
  expect(cacheControlOf('/favicon.svg')).toBe('no-cache');
  expect(cacheControlOf('/index.html')).toBe('no-store');
});

test('the policy of the page lets nothing foreign and nothing inline run', () => {
  expect(pagePolicy).not.toContain('unsafe');
  expect(pagePolicy).not.toContain('http');
  expect(pagePolicy).toContain("default-src 'none'");
});
