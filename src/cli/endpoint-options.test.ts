import { Command } from 'commander';
import { expect, test } from 'vitest';
import { JobRequest } from '../contract/options.ts';
import { addCopyOptions, addFilters, passwordInArguments, toJobRequest } from './endpoint-options.ts';
import { readEnvironment } from './settings.ts';

const env = readEnvironment({ PGSLUICE_SOURCE_URL: 'postgres://s/a', PGSLUICE_TARGET_URL: 'postgres://t/b' });

test('the environment names the servers, flags win', () => {
  const request = toJobRequest({ target: 'postgres://flag/c', owner: false, acl: true, replace: true }, env, true);
  const parsed = JobRequest.parse(request);
  expect(parsed.source?.url).toBe('postgres://s/a');
  expect(parsed.target?.url).toBe('postgres://flag/c');
  expect(parsed.start).toBe(true);
  expect(parsed.options).toMatchObject({ noOwner: true, noAcl: false, replace: true, tableJobs: 4, verify: 'full' });
});

test('a missing server is told with both ways to name it', () => {
  const nothing = readEnvironment({});
  expect(() => toJobRequest({}, nothing, true)).toThrow(
    expect.objectContaining({ code: 'SOURCE_MISSING', hint: expect.stringContaining('PGSLUICE_SOURCE_URL') }),
  );
  expect(() => toJobRequest({ source: 'postgres://s/a' }, nothing, true)).toThrow(
    expect.objectContaining({ code: 'TARGET_MISSING' }),
  );
});

test('options that exclude each other are wrong usage', () => {
  expect(() => toJobRequest({ schemaOnly: true, dataOnly: true }, env, true)).toThrow(
    expect.objectContaining({ code: 'USAGE' }),
  );
});

test.each([
  ['postgres://u:p@h/d', true],
  ['postgres://h/d?user=u&password=p', true],
  ['postgres://u@h:5432/d', false],
  ['postgres://u:@h/d', false],
  ['postgres://h:5432/d?options=a@b', false],
])('%s holds a password: %s', (source, expected) => {
  expect(passwordInArguments({ source })).toBe(expected);
});

test('a wrong port or level in the environment is named', () => {
  expect(() => readEnvironment({ PGSLUICE_PORT: '70000' })).toThrow(expect.objectContaining({ code: 'INVALID_PORT' }));
  expect(() => readEnvironment({ PGSLUICE_LOG_LEVEL: 'loud' })).toThrow(
    expect.objectContaining({ code: 'INVALID_LOG_LEVEL' }),
  );
  expect(readEnvironment({ PGSLUICE_PORT: '', PGSLUICE_LOG_LEVEL: 'DEBUG' })).toMatchObject({
    port: 7432,
    logLevel: 'debug',
  });
});

test('roles are mapped one by one, and each once', () => {
  const command = addCopyOptions(
    addFilters(new Command().exitOverride().configureOutput({ writeErr: () => undefined })),
  );
  const parse = (...args: string[]): unknown => command.parse(args, { from: 'user' }).opts()['mapRole'];
  expect(parse('--map-role', 'old=new', '--map-role', 'Ev Weird-Role=x y')).toEqual({
    old: 'new',
    'Ev Weird-Role': 'x y',
  });
  expect(() => parse('--map-role', 'old')).toThrow('old=new');
  const again = addFilters(new Command().exitOverride().configureOutput({ writeErr: () => undefined }));
  expect(() => again.parse(['--map-role', 'a=b', '--map-role', 'a=c'], { from: 'user' })).toThrow('twice');
  const request = JobRequest.parse(
    toJobRequest({ mapRole: { old: 'new' }, createDatabase: true, allowDowngrade: true }, env, true),
  );
  expect(request.options).toMatchObject({ mapRole: { old: 'new' }, createDatabase: true, allowDowngrade: true });
});

test('a rate is a size a second, and not below what one reading of a socket takes', () => {
  const parse = (...args: string[]): Record<string, unknown> =>
    addCopyOptions(new Command().exitOverride().configureOutput({ writeErr: () => undefined }))
      .parse(args, { from: 'user' })
      .opts();
  expect(parse('--max-rate', '20MB', '--gentle')).toMatchObject({ maxRate: 20_000_000, gentle: true });
  expect(parse('--max-rate', '1MiB/s')).toMatchObject({ maxRate: 2 ** 20 });
  expect(() => parse('--max-rate', '10kB')).toThrow('64 KiB');
  const request = JobRequest.parse(toJobRequest({ maxRate: 1e6, gentle: true }, env, true));
  expect(request.options).toMatchObject({ maxRate: 1e6, gentle: true });
  expect(JobRequest.safeParse({ ...request, options: { maxRate: 10 } }).success).toBe(false);
});
