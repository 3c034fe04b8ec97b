import { expect, test } from 'vitest';
import type { CheckResult } from '../contract/check.ts';
import { checksAsCsv, checksAsMarkdown } from './checks-as-text.ts';

const check = (changes: Partial<CheckResult>): CheckResult => ({
  id: 'server.locale',
  family: 'server',
  side: 'both',
  outcome: 'warned',
  code: null,
  title: 'Text sorts the same.',
  found: 'en here, "C" there',
  remedy: "CREATE DATABASE x\nLC_COLLATE 'C';",
  elapsedMs: 1.5,
  ...changes,
});
const accepted = { by: 'Ada', at: '2026-11-21T10:00:00.000Z', note: '=1+1, fine' };

test('CSV: one record a check, quoted where it must be, and no formula of a person', () => {
  const lines = checksAsCsv([check({}), check({ id: 'server.encoding', remedy: '', found: 'x', accepted })]);
  expect(lines).toBe(
    'id,family,side,outcome,code,title,found,remedy,elapsed_ms,accepted_by,accepted_at,accepted_note\r\n' +
      `server.locale,server,both,warned,,Text sorts the same.,"en here, ""C"" there","CREATE DATABASE x\nLC_COLLATE 'C';",1.5,,,\r\n` +
      `server.encoding,server,both,warned,,Text sorts the same.,x,,1.5,Ada,2026-11-21T10:00:00.000Z,"'=1+1, fine"\r\n`,
  );
});

test('CSV: no formula of a server', () => {
  const [, line = ''] = checksAsCsv([check({ found: '=cmd|calc!A0', remedy: '@SUM(1)\nx' })]).split('\r\n');
  expect(line).toContain(`,'=cmd|calc!A0,"'@SUM(1)\nx",`);
});

test('Markdown: the gravest first, remedies to paste, who accepted', () => {
  const text = checksAsMarkdown(
    [
      check({ outcome: 'passed', id: 'connect.source', found: 'a_b' }),
      check({ accepted }),
      check({ outcome: 'failed', code: 'X', id: 'version.servers', found: '<b>|' }),
    ],
    'Checks of *shop*',
  );
  expect(text).toMatch(/^# Checks of \\\*shop\\\*\n\n## Failed/);
  expect(text.indexOf('version.servers')).toBeLessThan(text.indexOf('server.locale'));
  expect(text).toContain('`version.servers`, both, X: \\<b\\>\\|');
  expect(text).toContain("```sql\nCREATE DATABASE x\nLC_COLLATE 'C';\n```");
  expect(text).toContain('Accepted by Ada at 2026-11-21T10:00:00.000Z: =1+1, fine');
  expect(text).toContain('- `connect.source`, both: a\\_b\n');
});

test('Markdown: what a server says stays in its place', () => {
  const remedy = 'ALTER TABLE "```\n~~~~\n\u001b[2J<script>" OWNER TO x;';
  const text = checksAsMarkdown([check({ remedy, found: '\u202e![x](javascript:1)' })], 'x');
  expect(text).toContain('````sql\nALTER TABLE "```\n~~~~\n[2J<script>" OWNER TO x;\n````');
  expect(text).toContain('!\\[x\\](javascript:1)');
});
