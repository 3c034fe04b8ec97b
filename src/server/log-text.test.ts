import { expect, test } from 'vitest';
import { logLine } from './log-text.ts';

test('a line of the log moves no cursor, and one event stays countable', () => {
  const at = '2026-01-02T03:04:05.006Z';
  const message = 'a\u001b[2Jb\u0007\u009b31mc\tand\nERROR not one';
  expect(logLine({ seq: 1, at, type: 'log', level: 'warn', message })).toBe(
    `${at} WARN  a[2Jb31mc\tand\n    ERROR not one\n`,
  );
  expect(logLine({ seq: 2, at, type: 'state', state: 'draft', previous: null, reason: '', error: null })).toBe('');
});
