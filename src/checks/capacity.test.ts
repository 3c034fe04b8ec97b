import { describe, expect, test } from 'vitest';
import { estimateTargetBytes, judgeLongTransactions, judgeSourceSize, judgeTargetDisk } from './capacity.ts';
import { judgeDataOnlyTarget, judgeTargetEmpty } from './empty.ts';
import type { CatalogObject } from './catalog.ts';

const MiB = 2 ** 20;
const size = {
  relations: [
    { schema: 'a', name: 'big', tableBytes: 80 * MiB, indexBytes: 20 * MiB, dead: 0.5 },
    { schema: 'a', name: 'small', tableBytes: MiB, indexBytes: 0, dead: 0 },
  ],
  largeObjectBytes: 9 * MiB,
};

test('the largest tables come first', () => {
  expect(judgeSourceSize(size).found).toMatch(
    /^110 MiB .* large objects 9\.0 MiB\. The largest: "a"\."big" 100 MiB, "a"\."small" 1\.0 MiB\.$/,
  );
});

describe('judgeTargetDisk', () => {
  const need = { dataBytes: 100 * MiB, maxWalBytes: 1024 * MiB, declaredBytes: null };
  test('dead rows stay behind', () => expect(estimateTargetBytes(size)).toBe(60 * MiB));
  test('unknown', () => expect(judgeTargetDisk(need).outcome).toBe('info'));
  test('too small', () =>
    expect(judgeTargetDisk({ ...need, declaredBytes: 129 * MiB }).code).toBe('TARGET_DISK_TOO_SMALL'));
  test('tight', () => expect(judgeTargetDisk({ ...need, declaredBytes: 131 * MiB }).outcome).toBe('warned'));
  test('WAL is bounded by max_wal_size', () => {
    expect(judgeTargetDisk({ ...need, maxWalBytes: 0, declaredBytes: 126 * MiB }).outcome).toBe('passed');
  });
});

test('old and prepared transactions', () => {
  const open = { who: 'pid 1', age: 10, prepared: false, end: 'SELECT 1;' };
  expect(judgeLongTransactions([open]).outcome).toBe('passed');
  expect(judgeLongTransactions([{ ...open, age: 301 }]).outcome).toBe('warned');
  expect(judgeLongTransactions([{ ...open, prepared: true }]).remedy).toBe('SELECT 1;');
});

describe('judgeTargetEmpty', () => {
  const object: CatalogObject = {
    oid: 1,
    kind: 'TABLE',
    schema: 'public',
    name: 't',
    relation: true,
    owner: 'app',
    grantees: [],
    superuserWhy: null,
    ours: true,
  };
  const input = { database: 'd', role: 'me', replace: false, ownTarget: false };
  const contents = { objects: [object], largeObjects: 0, extensions: [] };
  test('an empty schema public is nothing', () => {
    const publicSchema = { ...object, kind: 'SCHEMA', name: 'public', relation: false };
    expect(judgeTargetEmpty({ ...contents, objects: [publicSchema] }, input).outcome).toBe('passed');
  });
  test('anything else blocks', () => {
    expect(judgeTargetEmpty(contents, input)).toMatchObject({ code: 'TARGET_NOT_EMPTY' });
    expect(judgeTargetEmpty({ ...contents, objects: [], largeObjects: 2 }, input).code).toBe('TARGET_NOT_EMPTY');
  });
  test('replace says what is dropped, and needs the right to', () => {
    expect(judgeTargetEmpty(contents, { ...input, replace: true })).toMatchObject({ outcome: 'warned' });
    expect(
      judgeTargetEmpty({ ...contents, objects: [{ ...object, ours: false }] }, { ...input, replace: true }).code,
    ).toBe('REPLACE_NOT_ALLOWED');
  });
  test('what the job itself made is no obstacle', () => {
    expect(judgeTargetEmpty(contents, { ...input, ownTarget: true }).outcome).toBe('passed');
  });
  test('extensions are no contents, and with --replace they are named', () => {
    const extension = { name: 'x', owner: 'admin', ours: true, onSource: false };
    const only = { ...contents, objects: [], extensions: [extension] };
    expect(judgeTargetEmpty(only, input).outcome).toBe('info');
    expect(judgeTargetEmpty({ ...only, extensions: [{ ...extension, onSource: true }] }, input).outcome).toBe('passed');
    expect(judgeTargetEmpty(only, { ...input, replace: true }).found).toBe(
      '--replace will drop 1 object: EXTENSION "x".',
    );
    const foreign = judgeTargetEmpty(
      { ...only, extensions: [{ ...extension, ours: false }] },
      { ...input, replace: true },
    );
    expect(foreign.outcome).toBe('info');
    expect(foreign.found).toContain('They stay.');
  });
});

test('data only', () => {
  const input = { replace: false, ownTarget: false };
  expect(judgeDataOnlyTarget(['"a"'], new Map(), input).code).toBe('TABLE_MISSING');
  expect(judgeDataOnlyTarget(['"a"'], new Map([['"a"', false]]), input).outcome).toBe('passed');
  const empty = new Map([['"a"', false]]);
  expect(judgeDataOnlyTarget(['"a"'], empty, input, 3).code).toBe('TARGET_NOT_EMPTY');
  expect(judgeDataOnlyTarget(['"a"'], empty, { ...input, ownTarget: true }, 3).outcome).toBe('passed');
  expect(judgeDataOnlyTarget(['"a"'], empty, { ...input, replace: true }, 3).found).toContain('remove 3 large objects');
  expect(judgeDataOnlyTarget(['"a"'], new Map([['"a"', true]]), input).code).toBe('TARGET_TABLE_NOT_EMPTY');
  expect(judgeDataOnlyTarget(['"a"'], new Map([['"a"', true]]), { ...input, replace: true }).outcome).toBe('warned');
});
