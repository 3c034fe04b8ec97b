import { describe, expect, test } from 'vitest';
import type { DatabaseFacts } from '../postgres/database-facts.ts';
import { createDatabase } from '../postgres/database-facts.ts';
import { judgeCreateDatabase, judgeNewDatabase, verdictOfNewDatabase } from './absent-target.ts';
import type { NewDatabase } from './absent-target.ts';

const facts = (more: Partial<DatabaseFacts> = {}): DatabaseFacts => ({
  encoding: 'UTF8',
  localeProvider: 'libc',
  collate: 'de_DE.UTF-8',
  ctype: 'de_DE.UTF-8',
  locale: null,
  icuRules: null,
  owner: 'app',
  comment: null,
  settings: [],
  ...more,
});
const input = (more: Partial<NewDatabase> = {}): NewDatabase => ({
  name: 'Shop',
  facts: facts(),
  major: 17,
  role: 'me',
  owner: 'me',
  mayGive: true,
  icu: true,
  missingLocales: [],
  reserved: [],
  ...more,
});

describe('judgeNewDatabase', () => {
  test('says what will be made', () => {
    const verdict = judgeNewDatabase(input());
    expect(verdict.outcome).toBe('passed');
    expect(verdict.found).toContain('"Shop"');
    expect(verdict.found).toContain('encoding UTF8 and locale de_DE.UTF-8');
  });
  test('a locale that the operating system lacks fails with a way out', () => {
    const verdict = judgeNewDatabase(input({ missingLocales: ['de_DE.UTF-8'] }));
    expect(verdict.code).toBe('LOCALE_MISSING');
    expect(verdict.remedy).toContain('CREATE DATABASE "Shop" TEMPLATE template0');
    const icu = facts({ localeProvider: 'icu', locale: 'de' });
    expect(judgeNewDatabase(input({ facts: icu, icu: false })).code).toBe('LOCALE_MISSING');
    expect(judgeNewDatabase(input({ facts: icu })).outcome).toBe('passed');
  });
  test('what the role or the version cannot do is told', () => {
    const verdict = judgeNewDatabase(
      input({
        owner: 'app',
        mayGive: false,
        reserved: ['log_statement'],
        major: 15,
        facts: facts({ localeProvider: 'icu', locale: 'de', icuRules: '&a < b' }),
      }),
    );
    expect(verdict.outcome).toBe('warned');
    for (const words of ['log_statement', 'may not give it to "app"', 'no ICU rules'])
      expect(verdict.found).toContain(words);
  });
});

test('the right to make databases', () => {
  expect(judgeCreateDatabase('me', 'Shop', true).outcome).toBe('passed');
  expect(judgeCreateDatabase('me', 'Shop', false)).toMatchObject({ code: 'CREATEDB_DENIED' });
});

test('what is said of a database that does not exist yet', () => {
  expect(verdictOfNewDatabase('capacity.target-empty', false)?.outcome).toBe('passed');
  expect(verdictOfNewDatabase('capacity.target-empty', true)).toBeNull();
  expect(verdictOfNewDatabase('privilege.roles', false)).toBeNull();
});

describe('createDatabase', () => {
  const of = (more: Partial<DatabaseFacts>, major: number): [string, readonly string[]] => {
    const { statement, lost } = createDatabase('a "b"', facts(more), major);
    return [statement.replace(`CREATE DATABASE "a ""b""" TEMPLATE template0 ENCODING 'UTF8' `, ''), lost];
  };
  const libc = `LC_COLLATE 'de_DE.UTF-8' LC_CTYPE 'de_DE.UTF-8'`;
  test.each<[Partial<DatabaseFacts>, number, string, number]>([
    [{}, 14, libc, 0],
    [{}, 15, `LOCALE_PROVIDER libc ${libc}`, 0],
    [{ localeProvider: 'icu', locale: 'de' }, 15, `LOCALE_PROVIDER icu ICU_LOCALE 'de' ${libc}`, 0],
    [{ localeProvider: 'icu', locale: 'de' }, 14, libc, 1],
    [
      { localeProvider: 'icu', locale: 'de', icuRules: '&a' },
      16,
      `LOCALE_PROVIDER icu ICU_LOCALE 'de' ICU_RULES '&a' ${libc}`,
      0,
    ],
    [
      { localeProvider: 'builtin', locale: 'C.UTF-8' },
      17,
      `LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' ${libc}`,
      0,
    ],
    [{ localeProvider: 'builtin', locale: 'C.UTF-8' }, 16, `LOCALE_PROVIDER libc ${libc}`, 1],
    [
      { localeProvider: 'builtin', locale: 'PG_UNICODE_FAST' },
      17,
      `LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' ${libc}`,
      1,
    ],
  ])('%j on %i', (more, major, statement, lost) => {
    expect(of(more, major)[0]).toBe(statement);
    expect(of(more, major)[1]).toHaveLength(lost);
  });
});
