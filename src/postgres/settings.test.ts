import { userInfo } from 'node:os';
import { describe, expect, test } from 'vitest';
import { PgsluiceError } from '../errors.ts';
import { type ConnectionSettings, type EndpointLike, describeSettings, parseEndpoint } from './settings.ts';

const parse = (url: string, more: EndpointLike = {}): ConnectionSettings => parseEndpoint({ url, ...more }, 'source');

function refusal(input: EndpointLike): PgsluiceError {
  try {
    parseEndpoint(input, 'target');
  } catch (error) {
    if (error instanceof PgsluiceError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

describe('a URL', () => {
  test('has libpq defaults', () => {
    expect(parse('postgres://app:secret@db.example.com/shop')).toEqual({
      host: 'db.example.com',
      port: 5432,
      user: 'app',
      password: 'secret',
      database: 'shop',
      sslmode: 'prefer',
      sslrootcert: null,
      applicationName: 'pgsluice',
      connectTimeoutMs: 10_000,
    });
  });

  test.each(['postgres', 'postgresql', 'ecto', 'POSTGRES'])('may begin with %s://', (scheme) => {
    expect(parse(`${scheme}://u:p@h:6000/d`)).toMatchObject({ host: 'h', port: 6000, user: 'u', database: 'd' });
  });

  test('is percent-decoded in every part', () => {
    expect(
      parse('postgres://us%40er:p%3A%2F%3F%23%5B%5D%25@h/d%20b%2Fc?application_name=my%20app%26more'),
    ).toMatchObject({
      user: 'us@er',
      password: 'p:/?#[]%',
      database: 'd b/c',
      applicationName: 'my app&more',
    });
    expect(parse('postgres://ü:ä€@h/ö')).toMatchObject({ user: 'ü', password: 'ä€', database: 'ö' });
  });

  test('may hold characters in the password that other readers stumble over', () => {
    expect(parse('postgres://u:p@ss:w#rd+&=@h/d')).toMatchObject({
      password: 'p@ss:w#rd+&=',
      host: 'h',
      database: 'd',
    });
  });

  test('names IPv6 hosts in brackets', () => {
    const settings = parse('postgres://u@[2001:db8::1]:5433/d');
    expect(settings).toMatchObject({ host: '2001:db8::1', port: 5433 });
    expect(describeSettings(settings)).toBe('u@[2001:db8::1]:5433/d');
    expect(parse('postgres://u@[::1]/d')).toMatchObject({ host: '::1', port: 5432 });
  });

  test.each(['postgres://u@%2Fvar%2Frun/d', 'postgres://u@/d?host=/var/run', 'postgres:///d?host=%2Fvar%2Frun&user=u'])(
    'names a Unix socket: %s',
    (url) => {
      expect(parse(url)).toMatchObject({ host: '/var/run', user: 'u', database: 'd' });
    },
  );

  test('without a host means the local socket, without a user the account, without a database the user', () => {
    const settings = parse('postgres:///');
    expect(settings.host).toMatch(/^\//);
    expect(settings.user).toBe(userInfo().username);
    expect(settings.database).toBe(settings.user);
    expect(parse('postgres://u@h').database).toBe('u');
  });

  test('takes parameters of libpq', () => {
    expect(
      parse(
        'postgres://h?user=u&password=p%26&dbname=d&port=7000&sslmode=verify-full&sslrootcert=/ca.crt&connect_timeout=3' +
          '&application_name=me&keepalives=1&keepalives_idle=10&channel_binding=require&gssencmode=disable' +
          '&target_session_attrs=read-write&options=endpoint%3Dx',
      ),
    ).toEqual({
      host: 'h',
      port: 7000,
      user: 'u',
      password: 'p&',
      database: 'd',
      sslmode: 'verify-full',
      sslrootcert: '/ca.crt',
      applicationName: 'me',
      connectTimeoutMs: 3000,
    });
    expect(parse('postgres://h?connect_timeout=0').connectTimeoutMs).toBe(10_000);
    expect(parse('postgres://h?connect_timeout=999999').connectTimeoutMs).toBe(600_000);
  });

  test.each([
    ['ssl=true', 'require'],
    ['ssl=false', 'disable'],
    ['ssl=true&sslmode=verify-full', 'verify-full'],
    ['', 'prefer'],
  ])('%s means sslmode %s', (query, sslmode) => {
    expect(parse(`ecto://u:p@h/d?${query}`).sslmode).toBe(sslmode);
  });
});

describe('fields', () => {
  test('stand alone', () => {
    expect(
      parseEndpoint({ host: 'h', user: 'u', password: 'p', database: 'd', port: 1, sslmode: 'require' }, 'source'),
    ).toMatchObject({ host: 'h', port: 1, user: 'u', password: 'p', database: 'd', sslmode: 'require' });
  });

  test('win over the URL, empty ones do not', () => {
    expect(
      parse('postgres://u:p@h:1/d?sslmode=disable', { database: 'other', password: 'better', sslmode: 'require' }),
    ).toMatchObject({
      database: 'other',
      password: 'better',
      sslmode: 'require',
      host: 'h',
    });
    expect(parse('postgres://u:p@h:1/d', { host: '', user: '', password: '', database: '' })).toMatchObject({
      host: 'h',
      user: 'u',
      password: 'p',
      database: 'd',
    });
  });
});

describe('refused', () => {
  test.each([
    ['', 'neither a URL nor a host'],
    ['mysql://u:secret@h/d', 'does not begin with'],
    ['jdbc:postgresql://h/d', 'does not begin with'],
    ['db.example.com', 'does not begin with'],
    ['postgres://u:secret@h:port/d', 'port'],
    ['postgres://u:secret@h:70000/d', 'port'],
    ['postgres://u:secret@h:0/d', 'port'],
    ['postgres://u:secret@h/d?port=x', 'port'],
    ['postgres://u:se/cret@h/d', 'after the first slash'],
    ['postgres://u:12/secret@h/d', 'after the first slash'],
    ['postgres://u:secret@::1/d', 'more than one colon'],
    ['postgres://u:secret@[::1/d', 'IPv6'],
    ['postgres://u:secret@[::1]5432/d', 'IPv6'],
    ['postgres://u:secret%zz@h/d', '% in its password'],
    ['postgres://u:secret@h/d%ff', '% in its database'],
    ['postgres://u:secret@h/d%00', 'zero byte'],
    ['postgres://u:secret@a,b/d', 'several hosts'],
    ['postgres://u:secret@a:1,b:2/d', 'more than one colon'],
    ['postgres://u:secret@h/d?sslmode=strict', 'sslmode "strict"'],
    ['postgres://u:secret@h/d?ssl=maybe', 'ssl=maybe'],
    ['postgres://u:secret@h/d?pool_size=5', '"pool_size"'],
    ['postgres://u:secret@h/d?sslmode', 'without a value'],
    ['postgres://u:secret@h/d?connect_timeout=soon', 'connect_timeout'],
    ['postgres://u:secret@h/d?sslmode=require&sslrootcert=system', 'verify-full'],
  ])('%s', (url, words) => {
    const error = refusal({ url });
    expect(error.code).toBe('INVALID_URL');
    expect(error.message).toMatch(/^The target /);
    expect(error.message).toContain(words);
    expect(error.hint).not.toBe('');
    expect(`${error.message}${error.hint}`).not.toContain('secret');
  });

  test('fields that make no sense', () => {
    expect(refusal({ user: 'u' }).message).toContain('neither a URL nor a host');
    expect(refusal({ host: 'h', port: 1.5, user: 'u' }).message).toContain('port');
    expect(refusal({ host: 'h', user: 'u', sslmode: 'x' }).message).toContain('sslmode');
  });
});

test('a description never holds the password', () => {
  expect(describeSettings(parse('postgres://app:secret@h:1/d'))).toBe('app@h:1/d');
});

test('whatever stands unescaped in a password, no piece of it is shown or taken for something else', () => {
  const words = ['Alpha', 'Bravo', 'Charl'];
  const signs = ['@', ':', '/', '?', '#', '&', '%', '=', '[', ']', ' ', '@:', '/@', '?=', '&=', '%4', '?@', '//', '\\'];
  const forms = (password: string): string[] => [
    `postgres://app:${password}@db.example/shop`,
    `postgres://app:${password}@db.example:5433/shop?sslmode=require`,
    `ecto://db.example/shop?user=app&password=${password}`,
  ];
  let refused = 0;
  for (const first of signs) {
    for (const second of signs) {
      for (const url of forms([words[0], first, words[1], second, words[2]].join(''))) {
        let shown: string;
        try {
          const { password: _, ...rest } = parseEndpoint({ url }, 'source');
          shown = JSON.stringify(rest);
        } catch (error) {
          if (!(error instanceof PgsluiceError)) throw error;
          refused += 1;
          shown = `${error.message} ${error.hint}`;
        }
        for (const word of words) expect(shown, url).not.toContain(word);
      }
    }
  }
  expect(refused).toBeGreaterThan(200);
});

test('tcp_user_timeout is how long a line may be silent; 0 and nothing leave the default, less than a second is a second', () => {
  const silence = (query: string): number | undefined =>
    parseEndpoint({ url: `postgres://u@h/d?${query}` }, 'source').silenceMs;
  expect(['', 'tcp_user_timeout=0', 'tcp_user_timeout=5000', 'tcp_user_timeout=5'].map(silence)).toEqual([
    undefined,
    undefined,
    5000,
    1000,
  ]);
  expect(() => silence('tcp_user_timeout=5s')).toThrow(/whole number of milliseconds/);
});
