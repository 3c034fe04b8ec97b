import { describe, expect, test } from 'vitest';
import { judgeEncoding, judgeLocale, judgeSettings, judgeTimeouts } from './server.ts';
import type { Locale } from './server.ts';

test('encodings', () => {
  expect(judgeEncoding('UTF8', 'UTF8').outcome).toBe('passed');
  expect(judgeEncoding('LATIN1', 'UTF8').outcome).toBe('warned');
  expect(judgeEncoding('UTF8', 'LATIN1').code).toBe('ENCODING_MISMATCH');
  expect(judgeEncoding('UTF8', 'SQL_ASCII').code).toBe('ENCODING_MISMATCH');
  expect(judgeEncoding('SQL_ASCII', 'UTF8').outcome).toBe('warned');
  expect(judgeEncoding('SQL_ASCII', 'SQL_ASCII').outcome).toBe('warned');
});

describe('judgeLocale', () => {
  const libc: Locale = { provider: 'c', collate: 'en_US.UTF-8', ctype: 'en_US.UTF-8', locale: null, version: '2.36' };
  test('spellings of one locale are the same', () => {
    expect(judgeLocale(libc, { ...libc, collate: 'en_US.utf8', ctype: 'en_US.utf8' }).outcome).toBe('passed');
  });
  test('another locale or provider warns', () => {
    expect(judgeLocale(libc, { ...libc, collate: 'C', ctype: 'C' }).outcome).toBe('warned');
    expect(judgeLocale({ ...libc, provider: 'i', locale: 'de' }, libc).remedy).toContain("ICU_LOCALE 'de'");
  });
  test('another version of the library informs', () => {
    expect(judgeLocale(libc, { ...libc, version: '2.41' }).outcome).toBe('info');
    expect(judgeLocale(libc, { ...libc, version: null }).outcome).toBe('passed');
  });
});

describe('judgeSettings', () => {
  const nothing = { source: {}, target: {}, stored: [], targetStored: [], targetDatabase: 'shop' };
  test('nothing differs', () => expect(judgeSettings(nothing).outcome).toBe('passed'));
  test('names differing parameters, not those one side lacks', () => {
    const verdict = judgeSettings({
      ...nothing,
      source: { TimeZone: 'UTC', x: '1' },
      target: { TimeZone: 'Europe/Berlin' },
    });
    expect(verdict.found).toBe('TimeZone is "UTC" on the source, "Europe/Berlin" on the target.');
  });
  test('prints the statements that carry stored settings over', () => {
    const stored = [
      { role: null, inDatabase: true, setting: `work_mem=5'MB` },
      { role: 'app', inDatabase: true, setting: 'search_path="$user", odd' },
      { role: 'app', inDatabase: false, setting: 'my.x=' },
      { role: 'there', inDatabase: false, setting: 'a=b' },
    ];
    const verdict = judgeSettings({ ...nothing, stored, targetStored: stored.slice(3) });
    expect(verdict.remedy.split('\n')).toEqual([
      `ALTER DATABASE "shop" SET "work_mem" TO '5''MB';`,
      `ALTER ROLE "app" IN DATABASE "shop" SET "search_path" TO "$user", odd;`,
      `ALTER ROLE "app" SET "my"."x" TO '';`,
    ]);
  });
});

test('timeouts are told and nothing has to be done', () => {
  const at = { role: 'me', database: 'shop' };
  expect(judgeTimeouts([{ name: 'lock_timeout', value: 0 }], at).outcome).toBe('passed');
  expect(judgeTimeouts([{ name: 'tcp_user_timeout', value: 60_000 }], at).outcome).toBe('passed');
  expect(judgeTimeouts([{ name: 'tcp_user_timeout', value: 5000 }], at)).toMatchObject({
    outcome: 'warned',
    remedy: 'ALTER ROLE "me" IN DATABASE "shop" SET tcp_user_timeout TO 0;',
  });
  const verdict = judgeTimeouts([{ name: 'statement_timeout', value: 3000 }], at);
  expect(verdict).toMatchObject({ outcome: 'info', remedy: '' });
  expect(verdict.found).toContain('statement_timeout = 3 s');
});
