import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { JobOptions } from '../contract/options.ts';
import { SecretBox } from '../store/secrets.ts';
import { assertCallsGiven, sealCalls, withCalls, withoutCalls } from './sealed-calls.ts';

const given = JobOptions.parse({
  handOver: { command: ['/bin/switch', '--token=s3cret'], webhook: 'https://u:s3cret@a.example/moved' },
  hooks: [
    { on: 'completed', webhook: 'https://b.example/hooks/s3cret?k=s3cret#s3cret' },
    { on: 'failed', webhook: 'https://c.example/' },
    { on: 'failed', command: ['/bin/tell'], timeout: 5 },
  ],
});

test('nothing but program and origin of a hook is shown or stored', () => {
  const shown = withoutCalls(given);
  expect(JSON.stringify(shown)).not.toContain('s3cret');
  expect(shown.handOver).toEqual({ command: ['/bin/switch', '***'], webhook: 'https://a.example/***' });
  expect(shown.hooks.map(({ webhook, command }) => webhook ?? command)).toEqual([
    'https://b.example/***',
    'https://c.example/',
    ['/bin/tell'],
  ]);
  expect(JobOptions.parse(shown)).toEqual(shown);
  expect(withoutCalls(shown)).toEqual(shown);
});

test('what is sealed comes back whole, and only with its own job', () => {
  const box = new SecretBox(randomBytes(32));
  const row = { id: 'aaaa', options: withoutCalls(given), calls: sealCalls(box, 'aaaa', given) };
  expect(row.calls).not.toContain('s3cret');
  expect(withCalls(box, row).options).toEqual(given);
  expect(() => withCalls(box, { ...row, id: 'bbbb' })).toThrow(expect.objectContaining({ code: 'SECRET_KEY_WRONG' }));
  expect(sealCalls(box, 'aaaa', JobOptions.parse({}))).toBeNull();
  expect(withCalls(box, { ...row, calls: null }).options).toEqual(row.options);
});

test('a hook that was read off another job is refused', () => {
  assertCallsGiven(given);
  const refused = expect.objectContaining({ code: 'HOOK_HIDDEN' });
  const { handOver, hooks } = withoutCalls(given);
  expect(() => assertCallsGiven({ handOver, hooks: [] })).toThrow(refused);
  expect(() => assertCallsGiven({ handOver: null, hooks })).toThrow(refused);
});
