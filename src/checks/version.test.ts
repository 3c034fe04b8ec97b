import { describe, expect, test } from 'vitest';
import { PgsluiceError } from '../errors.ts';
import type { ServerVersion } from '../postgres/version.ts';
import { forkOf, judgeMajors, judgeSupported, judgeTools } from './version.ts';

const v = (major: number, full = `PostgreSQL ${major}.1 on x86_64`): ServerVersion => ({
  num: major * 10_000 + 1,
  major,
  text: `${major}.1`,
  full,
});

test('the target may be equal or newer', () => {
  expect(judgeMajors(v(15), v(15), false).outcome).toBe('passed');
  expect(judgeMajors(v(15), v(18), false).outcome).toBe('passed');
  expect(judgeMajors(v(17), v(15), false).code).toBe('TARGET_OLDER');
  expect(judgeMajors(v(17), v(15), true).outcome).toBe('warned');
});

describe('judgeSupported', () => {
  test('before 10 the catalogue is another', () =>
    expect(judgeSupported('source', v(9)).code).toBe('UNSUPPORTED_VERSION'));
  test('untested majors are told', () => {
    expect(judgeSupported('source', v(12)).outcome).toBe('info');
    expect(judgeSupported('target', v(19)).outcome).toBe('info');
  });
  test('forks warn', () => {
    expect(judgeSupported('source', v(13, 'PostgreSQL 13.1-YB-2.1 on x86')).found).toContain('YugabyteDB');
    expect(judgeSupported('source', v(13, 'CockroachDB CCL v23')).outcome).toBe('warned');
    expect(forkOf('Something 1.0')).toBe('Something');
    expect(forkOf('PostgreSQL 15.1 (Debian)')).toBeNull();
  });
});

test('missing tools carry their own code and hint', () => {
  const error = new PgsluiceError({ code: 'PG_TOOLS_TOO_OLD', message: 'm', hint: 'h' });
  expect(judgeTools({ error })).toMatchObject({ outcome: 'failed', code: 'PG_TOOLS_TOO_OLD', remedy: 'h' });
});
