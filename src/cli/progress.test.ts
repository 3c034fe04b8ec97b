import { expect, test } from 'vitest';
import type { JobEvent, TableProgress } from '../contract/event.ts';
import type { LiveProgress } from '../contract/live.ts';
import { bar, renderProgress, tableFraction } from './progress-render.ts';
import { emptyProgress, reduceProgress, type ProgressState } from './progress-state.ts';
import { textWidth } from './text.ts';
import { progressSentence } from './view.ts';

type Body = JobEvent extends infer E ? (E extends JobEvent ? Omit<E, 'seq' | 'at'> : never) : never;

function after(...bodies: Body[]): ProgressState {
  const at = '2026-01-01T00:00:10.000Z';
  return bodies.reduce(
    (state, body, index) => reduceProgress(state, { ...body, seq: index + 1, at }),
    emptyProgress('shop'),
  );
}

function table(name: string, changes: Partial<TableProgress> = {}): Body {
  return {
    type: 'table',
    table: {
      schema: 'public',
      name,
      state: 'copying',
      rows: 500,
      bytes: 5_000_000,
      sizeBytes: 10_000_000,
      estimatedRows: null,
      format: 'binary',
      rate: 1_000_000,
      seconds: 5,
      attempts: 1,
      error: null,
      ...changes,
    },
  };
}

const metric: Body = {
  type: 'metric',
  tables: 12,
  tablesDone: 3,
  rows: 1_000_000,
  bytes: 1_200_000_000,
  fraction: 0.43,
  bytesPerSecond: 61_000_000,
  rowsPerSecond: 120_000,
  remaining: { low: 21, high: 29 },
  waiting: null,
};
const copying: Body = { type: 'phase', phase: 'copy', status: 'started', seconds: null, detail: '' };

test('a wide terminal sees phases, totals, tables and indexes', () => {
  const state = after(
    { type: 'phase', phase: 'schema', status: 'started', seconds: null, detail: '' },
    { type: 'phase', phase: 'schema', status: 'finished', seconds: 1, detail: '' },
    copying,
    metric,
    table('orders'),
    {
      type: 'index',
      kind: 'INDEX',
      schema: 'public',
      table: 'users',
      name: 'users_email',
      state: 'building',
      seconds: 0,
    },
  );
  const lines = renderProgress(state, 120);
  expect(lines[0]).toContain('✓ schema  ● copy  · indexes');
  expect(lines[1]).toContain('43 %  3 of 12 tables · 1.1 GiB · 58.2 MiB/s · 120,000 rows/s · 25 s to 30 s left');
  expect(lines[2]).toMatch(/public\.orders .*█+░+ +50 % +4\.8 MiB +977 KiB\/s/);
  expect(lines[3]).toContain('index users_email on public.users');
});

test.each([20, 34, 59, 60, 80, 100, 200])('no line passes %d columns', (width) => {
  const state = after(
    copying,
    {
      ...metric,
      waiting: {
        what: 'a lock that session 4711 of the application holds on the target',
        since: '2026-01-01T00:00:00Z',
      },
    },
    table('表'.repeat(40)),
    table('a"quoted\u001b[2Jname'),
    {
      type: 'index',
      kind: 'FK CONSTRAINT',
      schema: 's'.repeat(63),
      table: 't'.repeat(63),
      name: 'n'.repeat(63),
      state: 'building',
      seconds: 1,
    },
  );
  for (const line of renderProgress(state, width)) {
    expect(textWidth(line)).toBeLessThanOrEqual(width);
    expect(line).not.toContain('\u001b');
  }
});

test('a low terminal says how much it leaves out', () => {
  const state = after(copying, metric, ...Array.from({ length: 10 }, (_, index) => table(`t${index}`)));
  const lines = renderProgress(state, 120, { height: 6 });
  expect(lines).toHaveLength(6);
  expect(lines.at(-1)).toBe('  and 7 more');
});

test('a standstill is told with its cause and its length', () => {
  const waiting = { what: 'a lock on public.orders', since: '2026-01-01T00:00:00.000Z' };
  const lines = renderProgress(after(copying, { ...metric, waiting }), 100, {
    now: Date.parse('2026-01-01T00:03:00Z'),
  });
  expect(lines).toContain('Nothing has moved for 3 min: a lock on public.orders');
});

test('a finished table leaves, a failed one is counted, a paused job has nothing under way', () => {
  expect(after(copying, table('a'), table('a', { state: 'copied' })).active.size).toBe(0);
  expect(after(copying, table('a'), table('a', { state: 'failed' })).failedTables).toBe(1);
  expect(
    after(copying, table('a'), { type: 'state', state: 'paused', previous: 'running', reason: '', error: null }).active
      .size,
  ).toBe(0);
});

test('a table is never full before it is copied', () => {
  const of = (changes: Partial<TableProgress>): number => {
    const body = table('a', changes);
    if (body.type !== 'table') throw new Error('no table');
    return tableFraction(body.table);
  };
  expect(of({ bytes: 20_000_000 })).toBe(0.99);
  expect(of({ estimatedRows: 1000, rows: 250 })).toBe(0.25);
  expect(of({ sizeBytes: 0 })).toBe(0);
  expect(of({ state: 'copied', bytes: 1 })).toBe(1);
});

test('a bar has exactly its width', () => {
  for (const fraction of [-1, 0, 0.01, 0.5, 0.999, 1, 2]) expect(textWidth(bar(fraction, 13))).toBe(13);
  expect(bar(1, 4)).toBe('████');
});

test('a pipe gets one sentence', () => {
  expect(progressSentence(after(copying, metric))).toBe(
    'copy 43 %, 3 of 12 tables, 1.1 GiB at 58.2 MiB/s, 25 s to 30 s left',
  );
});

test('a comparison has figures of its own, beside those of the copy', () => {
  const comparing = {
    tables: 14,
    tablesDone: 7,
    rows: 10,
    bytes: 1_000_000,
    fraction: 0.25,
    bytesPerSecond: 500_000,
    rowsPerSecond: 5,
  };
  const state = after(
    { ...metric, fraction: 1, comparing },
    { type: 'phase', phase: 'verify', status: 'started', seconds: null, detail: '' },
  );
  expect(renderProgress(state, 120)[1]).toContain('25 %  7 of 14 tables compared');
  expect(progressSentence(state)).toContain('verify 25 %, 7 of 14 tables');
});

const counts = { inserts: 0, updates: 0, deletes: 0, truncates: 0, transactions: 0 };
const live: LiveProgress = {
  lagBytes: 1_258_291,
  lagSeconds: 0.8,
  sourceLsn: '0/3000000',
  appliedLsn: '0/2ED0000',
  applied: { ...counts, inserts: 12_000, transactions: 400 },
  perSecond: { ...counts, inserts: 1200, updates: 300, deletes: 2.25 },
  spooledBytes: 0,
  slot: {
    walStatus: 'extended',
    safeWalBytes: 5e9,
    retainedBytes: 58_720_256,
    walBytesPerSecond: 2_097_152,
    lastsSeconds: 7200,
    active: true,
  },
  guardrails: [
    { id: 'lag', state: 'ok', found: 'The target is 0.8 s behind.', remedy: '' },
    { id: 'long-writes', state: 'waits', found: 'pid 4711 has written for 3 min.', remedy: 'Wait, or end pid 4711.' },
    { id: 'slot', state: 'blocks', found: 'The slot is lost.', remedy: 'Begin anew.' },
  ],
  cutover: [],
  connected: true,
};
const following: Body[] = [
  { type: 'state', state: 'following', previous: 'running', reason: '', error: null },
  { type: 'phase', phase: 'follow', status: 'started', seconds: null, detail: '' },
  { ...metric, fraction: 1, live },
];

test('a job that follows shows lag, rows a second, what the source keeps, and what stands in the way', () => {
  const lines = renderProgress(after(...following), 160);
  expect(lines[0]).toContain('· indexes  ● follow  · cutover  · verify');
  expect(lines[1]).toBe(
    'lag 1.2 MiB, 0.8 s · 1,200 inserts/s · 300 updates/s · 2.3 deletes/s · source keeps 56.0 MiB of WAL, lasts about 2 h at 2.0 MiB/s',
  );
  expect(lines[2]).toBe('! waits  long-writes: pid 4711 has written for 3 min. → Wait, or end pid 4711.');
  expect(lines[3]).toContain('✗ blocks slot: The slot is lost.');
  expect(lines.join(' ')).not.toContain('behind');
  expect(progressSentence(after(...following))).toMatch(/^following: lag 1\.2 MiB, 0\.8 s, 1,200 inserts.*waits/);
});

test('during a cutover each step has its milliseconds, and the one under way counts on', () => {
  const at = '2026-01-01T00:00:00.000Z';
  const state = after(
    ...following,
    { type: 'state', state: 'cutting_over', previous: 'following', reason: '', error: null },
    {
      ...metric,
      live: {
        ...live,
        guardrails: [],
        cutover: [
          { step: 'fence', startedAt: at, ms: 12, detail: '14 tables locked' },
          { step: 'drain', startedAt: at, ms: null, detail: '' },
        ],
      },
    },
  );
  const lines = renderProgress(state, 100, { now: Date.parse('2026-01-01T00:00:10.250Z') });
  expect(lines).toContain('  ✓ fence             12 ms  14 tables locked');
  expect(lines).toContain('  ● drain            250 ms');
});

test.each([20, 40, 59, 80])('a job that follows fits into %d columns', (width) => {
  for (const line of renderProgress(after(...following), width)) expect(textWidth(line)).toBeLessThanOrEqual(width);
});

test('an idle source and a lost slot are said in words', () => {
  const idle = after(...following, { ...metric, live: { ...live, perSecond: counts, connected: false } });
  expect(progressSentence(idle)).toMatch(/connecting to the source again, lag .*, no changes, source keeps/);
  const slot = { ...live.slot, walStatus: 'lost', lastsSeconds: null } as LiveProgress['slot'];
  expect(progressSentence(after(...following, { ...metric, live: { ...live, slot } }))).toContain('the slot is lost');
});
