import { describe, expect, test } from 'vitest';
import { estimateTargetBytes, judgeSourceSize, judgeTargetDisk } from './capacity.ts';
import { judgeLongTransactions } from './long-transactions.ts';
import { packedBytes } from './size.ts';
import { judgeDataOnlyTarget, judgeTargetEmpty } from './empty.ts';
import type { CatalogObject } from './catalog.ts';

const MiB = 2 ** 20;
const bare = { packedIndexBytes: null, rows: -1, width: null, fillfactor: 100 };
const size = {
  relations: [
    { ...bare, schema: 'a', name: 'big', tableBytes: 80 * MiB, heapBytes: 80 * MiB, indexBytes: 20 * MiB, dead: 0.5 },
    { ...bare, schema: 'a', name: 'small', tableBytes: MiB, heapBytes: MiB, indexBytes: 0, dead: 0 },
  ],
  largeObjectBytes: 9 * MiB,
};

describe('what a copy takes', () => {
  const relation = {
    ...bare,
    schema: 'a',
    name: 't',
    tableBytes: 120 * MiB,
    heapBytes: 100 * MiB,
    indexBytes: 40 * MiB,
    dead: 0,
  };
  test('all of it where the statistics say nothing', () => {
    expect(packedBytes(relation)).toEqual({ table: 120 * MiB, index: 40 * MiB });
    expect(packedBytes({ ...relation, rows: 1000 })).toEqual({ table: 120 * MiB, index: 40 * MiB });
    expect(packedBytes({ ...relation, dead: 0.5 })).toEqual({ table: 60 * MiB, index: 20 * MiB });
  });
  test('the rows and no empty pages where they do, TOAST as it is', () => {
    const known = { ...relation, rows: 8168, width: 64, packedIndexBytes: MiB };
    expect(packedBytes(known)).toEqual({ table: 115 * 8192 * 1 + 20 * MiB, index: 1.15 * MiB });
    expect(packedBytes({ ...known, fillfactor: 50 }).table).toBe(230 * 8192 + 20 * MiB);
  });
  test('never more than there is', () => {
    expect(packedBytes({ ...relation, rows: 1e9, width: 1000, packedIndexBytes: 90 * MiB })).toEqual({
      table: 120 * MiB,
      index: 40 * MiB,
    });
  });
});

test('the largest tables come first', () => {
  expect(judgeSourceSize(size).found).toMatch(
    /^110 MiB .* large objects 9\.0 MiB\. The largest: "a"\."big" 100 MiB, "a"\."small" 1\.0 MiB\.$/,
  );
});

describe('judgeTargetDisk', () => {
  const need = { sourceBytes: 110 * MiB, dataBytes: 100 * MiB, maxWalBytes: 1024 * MiB, free: null };
  const free = (n: number) => ({ ...need, free: { bytes: n * MiB, how: 'declared' } as const });
  test('dead rows stay behind', () => expect(estimateTargetBytes(size)).toBe(60 * MiB));
  test('unknown', () => expect(judgeTargetDisk(need).outcome).toBe('info'));
  test('too small', () => expect(judgeTargetDisk(free(129)).code).toBe('TARGET_DISK_TOO_SMALL'));
  test('tight', () => expect(judgeTargetDisk(free(131)).outcome).toBe('warned'));
  test('WAL is bounded by max_wal_size', () => {
    expect(judgeTargetDisk({ ...free(126), maxWalBytes: 0 }).outcome).toBe('passed');
  });
  test('what was read is told as such, and bloat too', () => {
    const read = { ...need, sourceBytes: 400 * MiB, free: { bytes: 1e12, how: 'read' } as const };
    expect(judgeTargetDisk(read)).toMatchObject({ outcome: 'passed' });
    expect(judgeTargetDisk(read).found).toContain('(300 MiB on the source are room that nothing is in)');
    expect(judgeTargetDisk(read).found).toContain('is free on the disk of its data directory');
  });
});

test('old and prepared transactions', () => {
  const open = { who: 'pid 1', age: 10, prepared: false, end: 'SELECT 1;', locks: [] };
  const locks = [{ schema: 'a', name: 't' }];
  expect(judgeLongTransactions([open]).outcome).toBe('passed');
  expect(judgeLongTransactions([open], 3).found).toContain('3 sessions of other roles cannot be looked into');
  expect(judgeLongTransactions([{ ...open, age: 301 }]).outcome).toBe('warned');
  expect(judgeLongTransactions([{ ...open, age: 301, locks }])).toMatchObject({
    outcome: 'warned',
    found: expect.stringContaining('locks "a"."t"'),
  });
  expect(judgeLongTransactions([{ ...open, prepared: true }])).toMatchObject({
    outcome: 'warned',
    remedy: 'SELECT 1;',
  });
  expect(judgeLongTransactions([{ ...open, prepared: true, locks }])).toMatchObject({
    code: 'TABLES_LOCKED',
    remedy: 'SELECT 1;',
  });
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
  test('replace names what stays, and what of others it cannot remove', () => {
    const extension = { name: 'x', owner: 'admin', schema: 'tools', ours: false, onSource: false };
    const schema = { ...object, kind: 'SCHEMA', schema: 'tools', name: 'tools', relation: false };
    const kept = { ...contents, objects: [object, schema], extensions: [extension] };
    expect(judgeTargetEmpty(kept, { ...input, replace: true }).found).toBe(
      '--replace will drop 1 object: TABLE "public"."t". 1 extension of an administrator stays: x.',
    );
    const others = { ...contents, othersLargeObjects: 2, othersDefaults: ['default privileges on new types'] };
    const verdict = judgeTargetEmpty(others, { ...input, replace: true });
    expect(verdict.code).toBe('REPLACE_NOT_ALLOWED');
    expect(verdict.found).toContain('2 large objects, default privileges on new types');
    expect(judgeTargetEmpty(others, input).code).toBe('TARGET_NOT_EMPTY');
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
