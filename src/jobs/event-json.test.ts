import { expect, test } from 'vitest';
import { hideUrlPasswords, longestMessage, toStoredBody } from './event-json.ts';

const log = (message: string) => toStoredBody({ type: 'log', level: 'info', message });

test('what jsonb cannot hold is replaced, all else is kept', () => {
  expect(log('a\u0000b \ud800 c').body).toMatchObject({ message: 'a\uFFFDb \uFFFD c' });
  expect(log('🐘 and the text \\u0000').body).toMatchObject({ message: '🐘 and the text \\u0000' });
  expect(JSON.parse(log('x\n"y"').json)).toEqual(log('x\n"y"').body);
});

test('a password in a quoted URL does not get through', () => {
  expect(hideUrlPasswords('cannot reach postgres://app:s3cret%40@db:5432/x now')).toBe(
    'cannot reach postgres://app:***@db:5432/x now',
  );
  expect(hideUrlPasswords('see http://host:7432/path@x')).toBe('see http://host:7432/path@x');
});

test('a message without end is cut and says so', () => {
  const { body, json } = log('x'.repeat(1_000_000));
  expect(json.length).toBeLessThan(longestMessage + 200);
  expect(body).toMatchObject({ message: expect.stringMatching(/^x{64000}… \(936000 more characters\)$/) as string });
  expect(log('x'.repeat(longestMessage)).body).toMatchObject({ message: 'x'.repeat(longestMessage) });
});

test('a text that looks like the beginnings of a million URLs is read in a moment', () => {
  const begun = Date.now();
  expect(hideUrlPasswords('a+'.repeat(500_000))).toHaveLength(1_000_000);
  expect(hideUrlPasswords('a://'.repeat(250_000))).toHaveLength(1_000_000);
  expect(Date.now() - begun).toBeLessThan(3000);
});
