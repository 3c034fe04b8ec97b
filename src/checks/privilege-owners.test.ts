import { describe, expect, test } from 'vitest';
import { JobOptions } from '../contract/options.ts';
import { judgeOwners, judgeRolePlan } from './privilege-owners.ts';
import type { OwnersInput } from './privilege-owners.ts';

const options = (o: object = {}): JobOptions => JobOptions.parse(o);
const input = (existing: readonly string[], more: Partial<OwnersInput> = {}): OwnersInput => ({
  owners: [
    { owner: 'app', objects: 12 },
    { owner: 'Old One', objects: 1 },
  ],
  role: 'me',
  existing: new Set(existing),
  named: new Set(['app', 'Old One', 'reader']),
  ...more,
});

describe('judgeOwners', () => {
  test('the same roles pass', () => {
    expect(judgeOwners(options(), input(['app', 'Old One']))).toMatchObject({
      outcome: 'passed',
      found:
        '"app" owns 12 objects: the same role of the target; "Old One" owns 1 object: the same role of the target.',
    });
  });
  test('without owners everything is told to belong to the connecting role', () => {
    const verdict = judgeOwners(options({ noOwner: true }), input([]));
    expect(verdict.outcome).toBe('info');
    expect(verdict.found).toContain('"app" owns 12 objects: belongs to "me", who connects (--no-owner)');
  });
  test('mapped and made owners are told', () => {
    const verdict = judgeOwners(options({ mapRole: { 'Old One': 'app' }, roles: 'create' }), input([]));
    expect(verdict.outcome).toBe('info');
    expect(verdict.found).toContain('"app" owns 12 objects: which will be created');
    expect(verdict.found).toContain('"Old One" owns 1 object: mapped to "app", which will be created');
  });
  test('a missing owner fails with the ways out', () => {
    const verdict = judgeOwners(options({ mapRole: { app: 'new' } }), input(['Old One']));
    expect(verdict.code).toBe('ROLE_MISSING');
    expect(verdict.found).toContain('mapped to "new", which the target lacks');
    expect(verdict.remedy).toContain('--map-role app=…');
  });
  test('roles of a place are never made', () => {
    const owners = [{ owner: 'rds_superuser', objects: 1 }];
    expect(judgeOwners(options({ roles: 'create' }), input([], { owners })).code).toBe('ROLE_MISSING');
  });
  test('a mapping of nobody is a slip', () => {
    const verdict = judgeOwners(options({ mapRole: { ap: 'app' } }), input(['app', 'Old One']));
    expect(verdict.outcome).toBe('warned');
    expect(verdict.found).toContain('"ap"');
  });
});

test('what cannot be given to roles is named with what to do', () => {
  const plan = { created: ['a'], withheld: [] as string[], passwords: [] as string[], todo: [] as string[] };
  expect(judgeRolePlan('me', { ...plan, created: [] }).outcome).toBe('passed');
  expect(judgeRolePlan('me', plan).outcome).toBe('passed');
  const verdict = judgeRolePlan('me', {
    created: ['a', 'b c'],
    withheld: ['the role "a" is made without REPLICATION'],
    passwords: ['b c'],
    todo: ['Set it.'],
  });
  expect(verdict).toMatchObject({ outcome: 'warned', remedy: 'Set it.' });
  expect(verdict.found).toContain('"a" is made without REPLICATION');
  expect(verdict.found).toContain('"b c"');
});
