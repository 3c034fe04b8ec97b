import { expect, test } from 'vitest';
import type { Report, Verification } from '../contract/report.ts';
import { escapeHtml, formatBytes, formatSeconds, reportHtml } from './report.ts';
import { verdictOf } from './report-words.ts';

const evil = `<script>alert("x")</script>&'\u0000`;

const verification: Verification = {
  mode: 'full',
  verified: true,
  tables: [
    {
      schema: 'public',
      name: evil,
      sourceRows: 120_000,
      targetRows: 120_000,
      sourceChecksum: '42',
      targetChecksum: '42',
      equal: true,
      seconds: 0.5,
    },
  ],
  sequencesCompared: 3,
  largeObjectsCompared: 2,
  objectsCompared: 41,
  differences: [],
  notChecked: [evil],
  seconds: 2,
};

const report: Report = {
  jobId: 'j1',
  name: evil,
  state: 'completed',
  method: 'copy',
  source: { label: evil, version: '15.18' },
  target: { label: 'u@h:1/d', version: null },
  createdAt: '2026-11-21T09:00:00.000Z',
  startedAt: '2026-11-21T09:00:01.000Z',
  finishedAt: null,
  seconds: 3700,
  moved: { tables: 1, rows: 120_000, bytes: 5_000_000, indexes: 2, sequences: 3, largeObjects: 2 },
  phases: [{ phase: evil, seconds: 61, startedAt: '2026-11-21T09:00:01.000Z', finishedAt: 'not a date' }],
  restoreProblems: [{ kind: evil, name: evil, statement: evil, error: evil, harmless: true, reason: evil }],
  verification,
  cutover: null,
  todo: [evil],
  error: null,
};

test('every text is escaped and the page needs nothing from outside', () => {
  const html = reportHtml({
    ...report,
    verification: {
      ...verification,
      verified: false,
      differences: [{ kind: evil, name: evil, change: 'missing', source: evil, target: null }],
    },
  });
  expect(html).not.toContain('<script');
  expect(html).not.toContain('\u0000');
  expect(html).not.toMatch(/\b(src|href)\s*=|url\(|@import|https?:/);
  expect(html).toContain('&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;&#39;\ufffd');
  expect(html).toContain('Verification found 1 difference.');
  expect(html).toContain('@media print');
  expect(html).toContain('prefers-color-scheme: dark');
});

test('the verdict claims nothing that was not checked', () => {
  expect(verdictOf(report)).toMatchObject({ tone: 'good' });
  expect(verdictOf({ ...report, verification: { ...verification, mode: 'counts' } }).sentence).toContain(
    'not compared',
  );
  expect(verdictOf({ ...report, verification: { ...verification, verified: false } }).tone).toBe('warn');
  expect(verdictOf({ ...report, verification: null })).toMatchObject({
    tone: 'warn',
    sentence: 'The copy is complete. It was not verified.',
  });
  const error = { code: 'X', message: 'It broke.', hint: 'Retry.' };
  expect(verdictOf({ ...report, error })).toEqual({ tone: 'bad', sentence: 'It broke. Retry.' });
});

test('an export says where its archive is and how it is loaded, and every text of a person or a server is escaped', () => {
  const application = {
    framework: evil,
    table: evil,
    version: evil,
    migrations: 3,
    sameOnTarget: true,
    unfinished: [],
  };
  const saved: Report = {
    ...report,
    kind: 'export',
    archive: { path: `/srv/${evil}`, bytes: 5_000_000 },
    places: { source: evil, target: null },
    applications: [application],
  };
  const html = reportHtml(saved);
  expect(html).not.toContain('<script');
  expect(html).toContain('What was saved');
  expect(html).toContain('pgsluice import &#39;/srv/');
  expect(html).toContain('Whose database it is');
  expect(verdictOf(saved).sentence).toContain('archive was read back');
  expect(reportHtml({ ...saved, state: 'failed' })).not.toContain('pgsluice import');
  expect(verdictOf({ ...saved, kind: 'import' }).sentence).toContain('what the archive says');
});

test('figures have units', () => {
  expect(formatBytes(1)).toBe('1 byte');
  expect(formatBytes(5_000_000)).toBe('4.8 MiB');
  expect(formatSeconds(0.123)).toBe('0.12 s');
  expect(formatSeconds(59.96)).toBe('60.0 s');
  expect(formatSeconds(61)).toBe('1 min 1 s');
  expect(formatSeconds(3700)).toBe('1 h 1 min 40 s');
  expect(escapeHtml('a\u001bb')).toBe('a\ufffdb');
});
