import { expect, test } from 'vitest';
import type { ManifestTable } from '../contract/manifest.ts';
import { JobOptions } from '../contract/options.ts';
import type { SourceTable } from './catalogue.ts';
import { compressionOf } from './export-compression.ts';
import { dumpArguments, isLockWait, planDump } from './export-dump.ts';
import { judgeHolding } from './export-judge.ts';
import { reservedBytes, saysDiskFull } from './export-place.ts';
import { listedEntries } from './export-reading.ts';

const table = (name: string, rows: number | null, extra: Partial<ManifestTable> = {}): ManifestTable => ({
  schema: 's',
  name,
  kind: 'table',
  tree: false,
  condition: '',
  rows,
  bytes: 1,
  checksum: null,
  columns: [],
  ...extra,
});
const source = (name: string, extra: Partial<SourceTable> = {}): SourceTable => ({
  oid: 1,
  schema: 's',
  name,
  columns: [],
  sizeBytes: 1,
  pages: 1,
  estimatedRows: null,
  extensionCondition: null,
  via: null,
  ...extra,
});
const rows = (counts: Record<string, number>): Map<string, number> =>
  new Map(Object.entries(counts).map(([name, count]) => [JSON.stringify(['s', name]), count]));
const printed = (counts: Record<string, number>): Map<string, { rows: number }> =>
  new Map([...rows(counts)].map(([key, count]) => [key, { rows: count }]));

test('connections are divided between the snapshot, pg_dump and its jobs', () => {
  expect(planDump(1, 4)).toEqual({ within: true, jobs: 1 });
  expect(planDump(2, 4)).toEqual({ within: false, jobs: 1 });
  expect(planDump(3, 4)).toEqual({ within: false, jobs: 1 });
  expect(planDump(4, 4)).toEqual({ within: false, jobs: 2 });
  expect(planDump(20, 4)).toEqual({ within: false, jobs: 4 });
  expect(planDump(20, 1)).toEqual({ within: false, jobs: 1 });
});

test('pg_dump is given the snapshot only where it has a transaction of its own', () => {
  const options = JobOptions.parse({ noAcl: true, excludeTableData: ['log*'] });
  const compression = { argument: '--compress=zstd', words: 'zstd' };
  const input = { options, compression, dir: '/a', snapshotId: '1-2' };
  const shared = dumpArguments({ ...input, plan: { within: false, jobs: 2 } });
  expect(shared).toEqual(expect.arrayContaining(['--snapshot=1-2', '--jobs=2', '--no-privileges', '--compress=zstd']));
  expect(shared).toContain('--exclude-table-data=*."log"*');
  expect(dumpArguments({ ...input, plan: { within: true, jobs: 1 } }).join(' ')).not.toContain('snapshot');
});

test('a compression is named as its pg_dump knows it', () => {
  expect(compressionOf('zstd:9', 17)?.argument).toBe('--compress=zstd:9');
  expect(compressionOf('gzip', 15)?.argument).toBe('--compress=6');
  expect(compressionOf('gzip:1', 15)?.argument).toBe('--compress=1');
  expect(compressionOf('none', 15)?.argument).toBe('--compress=0');
  expect(compressionOf('zstd', 15)).toBeNull();
});

test('an archive holds what the source counted, or is given up by name', () => {
  const tables = [table('a', 3), table('v', 9, { kind: 'materialized view' })];
  const holding = { tables, moment: [source('a')], dumped: rows({ a: 3 }), printed: printed({ a: 3 }) };
  expect(judgeHolding(holding).verified.map(({ name, targetRows }) => [name, targetRows])).toEqual([['a', 3]]);
  expect(judgeHolding(holding).tables).toEqual(tables);
  expect(() => judgeHolding({ ...holding, printed: printed({ a: 2 }) })).toThrow('in the archive 2');
  expect(() => judgeHolding({ ...holding, printed: printed({}) })).toThrow('in the archive none');
  expect(() => judgeHolding({ ...holding, dumped: rows({ a: 4 }), printed: null })).toThrow('read 4');
  expect(judgeHolding({ ...holding, tables: [table('a', null)], printed: null }).tables).toEqual([table('a', 3)]);
});

test('partitions that are routed anew count as their root, and tables of an extension may be left out', () => {
  const via = { oid: 9, schema: 's', name: 'root' };
  const holding = {
    tables: [table('root', 5, { tree: true }), table('conf', 2)],
    moment: [source('p1', { via }), source('p2', { via }), source('conf', { extensionCondition: '' })],
    dumped: rows({ p1: 2, p2: 3 }),
    printed: printed({ root: 5 }),
  };
  const judged = judgeHolding(holding);
  expect(judged.tables.map(({ name }) => name)).toEqual(['root']);
  expect(judged.left).toEqual(['pg_dump leaves out the rows of "s"."conf": its extension is not part of the archive.']);
});

test('words and figures of other programs are understood', () => {
  expect(saysDiskFull('pg_dump: error: could not write to file: No space left on device')).toBe(true);
  expect(isLockWait('ERROR:  canceling statement due to lock timeout')).toBe(true);
  expect(reservedBytes(10 * 1024 ** 2)).toBe(524_288);
  expect(reservedBytes(1024 ** 4)).toBe(256 * 1024 ** 2);
  expect(listedEntries(';\n3; 0 0 TABLE DATA s a o\n12; 0 0 SEQUENCE SET s a_id_seq o\n', false)).toBe(
    '12; 0 0 SEQUENCE SET s a_id_seq o',
  );
});
