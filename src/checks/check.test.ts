import { describe, expect, test } from 'vitest';
import { JobOptions } from '../contract/options.ts';
import { PgsluiceError } from '../errors.ts';
import { failed, joinVerdicts, passed, skipped, warned } from './check.ts';
import type { Check } from './check.ts';
import { dataInScope, inScope, largeObjectsInScope } from './scope.ts';
import { groupsOf, judgeImpossible } from './run-checks.ts';
import { formatAge, formatBytes, listNames } from './words.ts';

describe('joinVerdicts', () => {
  test('the gravest outcome and its code win, everything found is kept', () => {
    const joined = joinVerdicts([
      { label: 'Source', verdict: warned('w', 'fix w') },
      { label: 'Target', verdict: failed('X', 'f', 'fix f') },
    ]);
    expect(joined).toEqual({
      outcome: 'failed',
      code: 'X',
      found: 'Source: w\nTarget: f',
      remedy: '-- Source\nfix w\n-- Target\nfix f',
    });
  });
  test('a side that was not reached does not hide the other', () => {
    const joined = joinVerdicts([
      { label: 'Source', verdict: skipped('not reached') },
      { label: 'Target', verdict: passed('fine') },
    ]);
    expect(joined).toMatchObject({ outcome: 'passed', found: 'Source: not reached\nTarget: fine' });
  });
});

test('a check that cannot be made blocks where its subject would', () => {
  const error = new PgsluiceError({ code: 'LOCK_TIMEOUT', message: 'm', hint: 'h', retryable: true });
  expect(judgeImpossible('blocks', error, false)).toMatchObject({
    outcome: 'failed',
    code: 'LOCK_TIMEOUT',
    retryable: true,
  });
  expect(judgeImpossible('warns', error, true).outcome).toBe('warned');
  expect(judgeImpossible('informs', error, true).outcome).toBe('skipped');
});

const options = (o: object): JobOptions => JobOptions.parse(o);

describe('scope', () => {
  const table = { schema: 'a', name: 't', relation: true };
  const type = { schema: 'a', name: 'ty', relation: false };
  const publication = { schema: null, name: 'p', relation: false };
  test('whole database', () => {
    expect([table, type, publication].map((o) => inScope(options({}), o))).toEqual([true, true, true]);
  });
  test('include filters leave schemaless objects out, table filters everything but relations', () => {
    expect([table, type, publication].map((o) => inScope(options({ includeSchema: ['a'] }), o))).toEqual([
      true,
      true,
      false,
    ]);
    expect([table, type, publication].map((o) => inScope(options({ includeTable: ['a.t'] }), o))).toEqual([
      true,
      false,
      false,
    ]);
  });
  test('data', () => {
    expect(dataInScope(options({ schemaOnly: true }), 'a', 't')).toBe(false);
    expect(dataInScope(options({ excludeTableData: ['t'] }), 'a', 't')).toBe(false);
    expect(largeObjectsInScope(options({ excludeTableData: ['b'] }))).toBe(true);
    expect(largeObjectsInScope(options({ includeSchema: ['b'] }))).toBe(false);
  });
});

test('words', () => {
  expect([0, 1023, 1536, 200 * 2 ** 30].map(formatBytes)).toEqual(['0 B', '1023 B', '1.5 KiB', '200 GiB']);
  expect([5, 300, 11_100, 187_200].map(formatAge)).toEqual(['5 s', '5 min', '3 h 5 min', '2 d 4 h']);
  expect(listNames(['a', 'b', 'c'], 2)).toBe('a, b and 1 more');
});

test('checks that must be alone divide the others into groups', () => {
  const check = (id: `server.${string}`, alone?: true): Check => ({
    id,
    severity: 'informs',
    title: '',
    needs: 'source',
    run: () => Promise.resolve(passed('')),
    ...(alone === undefined ? {} : { alone }),
  });
  const groups = groupsOf([
    check('server.a', true),
    check('server.b'),
    check('server.c'),
    check('server.d', true),
    check('server.e'),
  ]);
  expect(groups.map((group) => group.map((one) => one.id.slice(-1)).join(''))).toEqual(['a', 'bc', 'd', 'e']);
});
