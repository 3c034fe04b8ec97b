import { expect, test } from 'vitest';
import { JobRequest } from '../contract/options.ts';
import { toJobRequest } from './endpoint-options.ts';
import { parseHandOverCommand } from './live-options.ts';
import { readEnvironment } from './settings.ts';

const env = readEnvironment({ PGSLUICE_SOURCE_URL: 'postgres://s/a', PGSLUICE_TARGET_URL: 'postgres://t/b' });
const gib = 1024 ** 3;

test('every flag of a live job reaches its option', () => {
  const request = toJobRequest(
    {
      method: 'live',
      cutover: 'auto',
      cutoverTimeout: 30,
      slotWarn: gib,
      slotLimit: 2 * gib,
      carrySchemaChanges: true,
      dropLeftovers: true,
      handOverCommand: ['/bin/switch', '--to', 'new'],
      handOverWebhook: 'https://deploy.example.com/moved',
    },
    env,
    true,
  );
  expect(JobRequest.parse(request).options).toMatchObject({
    method: 'live',
    cutover: 'auto',
    cutoverTimeout: 30,
    slotWarn: gib,
    slotLimit: 2 * gib,
    carrySchemaChanges: true,
    dropLeftovers: true,
    handOver: { command: ['/bin/switch', '--to', 'new'], webhook: 'https://deploy.example.com/moved' },
  });
});

test('what no flag says is left to the contract', () => {
  expect(toJobRequest({}, env, true).options).not.toHaveProperty('cutover');
  expect(JobRequest.parse(toJobRequest({}, env, true)).options).toMatchObject({
    method: 'auto',
    cutover: null,
    cutoverTimeout: 60,
    slotWarn: 8 * gib,
    slotLimit: 64 * gib,
    carrySchemaChanges: false,
    dropLeftovers: false,
    handOver: null,
  });
});

test('a low limit brings its warning down with it', () => {
  expect(toJobRequest({ slotLimit: 2 * gib }, env, true).options).toMatchObject({ slotWarn: gib, slotLimit: 2 * gib });
  expect(toJobRequest({ slotLimit: 9 * gib }, env, true).options).not.toHaveProperty('slotWarn');
  expect(() => toJobRequest({ slotWarn: 3 * gib, slotLimit: gib }, env, true)).toThrow(
    expect.objectContaining({ code: 'USAGE', message: expect.stringContaining('slotWarn') }),
  );
});

test('a live job of the schema alone is wrong usage', () => {
  expect(() => toJobRequest({ method: 'live', schemaOnly: true }, env, true)).toThrow(
    expect.objectContaining({ code: 'USAGE', message: expect.stringContaining('method copy') }),
  );
});

test.each([
  ['/usr/local/bin/switch', ['/usr/local/bin/switch']],
  [' ["a b", "$(id)", "--x=;rm"] ', ['a b', '$(id)', '--x=;rm']],
])('hand-over command %j', (text, words) => {
  expect(parseHandOverCommand(text)).toEqual(words);
});

test.each(['', 'switch --to new', '[]', '["a", 1]', '["a", ""]', '["a"', '{"a":1}', '[["a"]]'])(
  'hand-over command %j is refused with the form it should have',
  (text) => {
    expect(() => parseHandOverCommand(text)).toThrow(/JSON array.*\["program", "first argument"\]/);
  },
);
