import { expect, test } from 'vitest';
import type { JobView } from '../contract/job.ts';
import {
  type FoundDatabase,
  groupShare,
  groupTotals,
  groupWidth,
  memberAction,
  planDatabases,
  summarizeGroup,
} from './group-plan.ts';

const found = (name: string, changes: Partial<FoundDatabase> = {}): FoundDatabase => ({
  name,
  template: false,
  open: true,
  mayConnect: true,
  bytes: 100,
  empty: false,
  ...changes,
});
const options = { createDatabase: false };
const code = (value: string) => expect.objectContaining({ code: value });

test('all: the largest first, what cannot be moved last and with its reason', () => {
  const plan = planDatabases(
    [
      found('small'),
      found('big', { bytes: 9000 }),
      found('unread', { bytes: null }),
      found('template1', { template: true }),
      found('shut', { open: false }),
      found('locked', { mayConnect: false }),
      found('rdsadmin'),
      found('postgres', { empty: true }),
    ],
    new Set(['big']),
    { databases: 'all', options },
  );
  expect(plan.filter((entry) => entry.skipped === null).map((entry) => [entry.database, entry.target])).toEqual([
    ['big', 'exists'],
    ['small', 'missing'],
    ['unread', 'missing'],
  ]);
  const reasons = new Map(plan.map((entry) => [entry.database, entry.skipped]));
  expect(reasons.get('template1')).toContain('template');
  expect(reasons.get('shut')).toContain('no connections');
  expect(reasons.get('locked')).toContain('CONNECT');
  expect(reasons.get('rdsadmin')).toContain('provider');
  expect(reasons.get('postgres')).toContain('nothing was ever made');
});

test('a list: each once, also a template or an empty one; names are taken as they are written', () => {
  const there = [found('Shop'), found('shop'), found('tpl', { template: true }), found('postgres', { empty: true })];
  const plan = planDatabases(there, new Set(), {
    databases: ['shop', 'shop', 'tpl', 'postgres'],
    options: { createDatabase: true },
  });
  expect(plan.map((entry) => [entry.database, entry.skipped, entry.target])).toEqual([
    ['postgres', null, 'will be made'],
    ['shop', null, 'will be made'],
    ['tpl', null, 'will be made'],
  ]);
});

test('what was named and cannot be read is never left out silently', () => {
  const there = [found('a'), found('shut', { open: false }), found('locked', { mayConnect: false })];
  for (const name of ['A', 'shut', 'locked']) {
    expect(() => planDatabases(there, new Set(), { databases: ['a', name], options })).toThrow(
      code('DATABASES_MISSING'),
    );
  }
  const nothing = [found('template1', { template: true })];
  expect(() => planDatabases(nothing, new Set(), { databases: 'all', options })).toThrow(code('NO_DATABASES'));
});

test.each([
  [{ source: 90, target: 90 }, 2, 2],
  [{ source: 90, target: 7 }, 2, 1],
  [{ source: 8, target: 8 }, 4, 2],
  [{ source: 1, target: 1 }, 4, 1],
])('of %j connections at most %i jobs take their share at once: %i', (room, most, width) => {
  expect(groupWidth(room, most)).toBe(width);
  const share = groupShare(room, width, 0, { source: 9, target: 5 });
  expect(share.source * width).toBeLessThanOrEqual(room.source);
  expect(share.target * width).toBeLessThanOrEqual(room.target);
  expect(share.source).toBeGreaterThanOrEqual(1);
});

test('what jobs that follow need for their cutover is left to them', () => {
  expect(groupShare({ source: 40, target: 40 }, 2, 2, { source: 9, target: 5 })).toEqual({ source: 11, target: 15 });
  expect(groupShare({ source: 10, target: 10 }, 2, 2, { source: 9, target: 5 })).toEqual({ source: 1, target: 1 });
});

const job = (state: JobView['state'], fraction: number, verified = false): JobView =>
  ({ id: state, state, verified, totals: { rows: 10, bytes: 50, fraction } }) as unknown as JobView;

test('totals weigh the databases by their size', () => {
  const jobs = [job('completed', 1, true), job('running', 0.5), job('blocked', 0)];
  const sizes: Record<string, number | null> = { completed: 300, running: 100, blocked: null };
  expect(groupTotals(jobs, ({ id }) => sizes[id] ?? null)).toEqual({
    databases: 3,
    done: 1,
    failed: 1,
    rows: 30,
    bytes: 150,
    fraction: 350 / 600,
    verified: false,
  });
  expect(groupTotals([job('completed', 1, true)], () => 1)).toMatchObject({ verified: true, fraction: 1 });
  expect(groupTotals([job('completed', 1, false)], () => 1).verified).toBe(false);
  expect(groupTotals([], () => 1)).toMatchObject({ verified: false, fraction: 0 });
});

test('one sentence says how many are where', () => {
  const jobs = [job('completed', 1), job('completed', 1), job('blocked', 0)];
  const skipped = { database: 't', bytes: null, target: 'missing' as const, skipped: 'it is a template', job: null };
  expect(summarizeGroup(jobs, [skipped])).toBe(
    '3 databases: 2 completed, 1 blocked by a check. 1 left out, each with its reason in the plan.',
  );
});

test.each([
  ['resume', 'paused', 'resume'],
  ['resume', 'draft', 'start'],
  ['resume', 'failed', null],
  ['retry', 'failed', 'retry'],
  ['retry', 'blocked', 'retry'],
  ['retry', 'completed', null],
  ['retry', 'draft', null],
  ['start', 'ready', 'start'],
  ['pause', 'running', 'pause'],
  ['pause', 'draft', null],
  ['cancel', 'completed', null],
  ['cancel', 'failed', 'cancel'],
] as const)('%s of the group does to a job that is %s: %s', (action, state, step) => {
  expect(memberAction(action, state)).toBe(step);
});
