import { expect, it } from 'vitest';
import { checkFamilies, type CheckResult } from '../../src/contract/check.ts';
import { groupChecks } from './check-groups.ts';

const check = (id: string, family: CheckResult['family'], outcome: CheckResult['outcome']): CheckResult => ({
  id,
  family,
  side: 'source',
  outcome,
  code: null,
  title: id,
  found: '',
  remedy: '',
  elapsedMs: 1,
});

it('keeps blockers apart from warnings, each by family in the order of the checks', () => {
  const groups = groupChecks([
    check('objects.extensions', 'objects', 'failed'),
    check('connect.source', 'connect', 'passed'),
    check('privilege.select', 'privilege', 'failed'),
    check('server.locale', 'server', 'warned'),
    check('capacity.size', 'capacity', 'info'),
    { ...check('server.time', 'server', 'warned'), accepted: { by: 'Ada', at: '2026-01-01T00:00:00Z', note: '' } },
    { ...check('objects.owner', 'objects', 'warned'), accepted: null },
  ]);
  expect(groups.blockers.map(({ family }) => family)).toEqual(['privilege', 'objects']);
  expect(groups.warnings.map(({ family }) => family)).toEqual(['server', 'objects']);
  expect(groups.others.map(({ family }) => family)).toEqual(['connect', 'capacity']);
  expect(groups.counts).toEqual({ blockers: 2, warnings: 2, accepted: 1, passed: 1 });
});

it('leaves no family out', () => {
  const all = checkFamilies.map((family) => check(`${family}.x`, family, 'failed'));
  expect(groupChecks(all).blockers.map(({ family }) => family)).toEqual([...checkFamilies]);
});
