import { describe, expect, test } from 'vitest';
import type { ArchiveEntry } from '../postgres/archive.ts';
import type { SourceTable } from './catalogue.ts';
import { buildPath, buildSeconds, COSTS, estimateTables, methodOf, pathsOf, rowsOf, sortsText } from './cost-model.ts';
import { corrected, estimateClone } from './cost-phases.ts';
import type { CostEstimate, EstimateInput } from './cost-phases.ts';
import { folded, schedule } from './cost-schedule.ts';
import { CostWatch } from './cost-watch.ts';
import { aboutSeconds, correctionSentence, estimateSentence } from './cost-words.ts';
import { planTasks } from './plan.ts';
import type { TableBuild } from './post-data.ts';

const GIB = 1024 ** 3;
let lastOid = 0;

function table(name: string, sizeBytes: number, more: Partial<SourceTable> = {}): SourceTable {
  lastOid += 1;
  return {
    oid: lastOid,
    schema: 'public',
    name,
    columns: [{ name: 'a', type: { name: 'int4', kind: 'b', builtIn: true } }],
    sizeBytes,
    pages: Math.ceil(sizeBytes / 8192),
    empty: sizeBytes === 0,
    estimatedRows: Math.round(sizeBytes / 100),
    extensionCondition: null,
    via: null,
    ...more,
  };
}

function entry(type: string, ...statements: readonly string[]): ArchiveEntry {
  lastOid += 1;
  const where = { schema: 'public', name: 'x', owner: null, section: 'post-data' as const, settings: [] };
  return { ...where, dumpId: lastOid, classOid: 1259, oid: lastOid, dependencies: [], type, statements };
}

function builds(of: SourceTable, count: number, method = 'btree'): [number, TableBuild[]] {
  const owner = { oid: of.oid, schema: of.schema, name: of.name, kind: 'r' };
  return [
    of.oid,
    Array.from({ length: count }, () => ({
      entry: entry('INDEX', `CREATE INDEX x ON public.${of.name} USING ${method} (a);`),
      table: owner,
      exclusive: false,
    })),
  ];
}

function input(tables: readonly SourceTable[], more: Partial<EstimateInput> = {}): EstimateInput {
  return {
    tables,
    builds: new Map(),
    plan: { tableJobs: 2, splitAbove: null, sourceMajor: 17 },
    indexJobs: 2,
    verify: 'full',
    roundTripMs: { source: 0.2, target: 0.2 },
    dataOnly: false,
    schemaOnly: false,
    entries: { before: tables.length, after: 0, sequences: 0 },
    foreignKeys: [],
    largeObjects: { count: 0, bytes: 0 },
    leaves: new Set(),
    ...more,
  };
}

const phase = (estimate: CostEstimate, name: string): number =>
  estimate.phases.find((one) => one.phase === name)?.seconds ?? Number.NaN;

describe('order', () => {
  test('a smaller table with many indexes goes before a larger one without, since its end comes later', () => {
    const large = table('large', GIB);
    const indexed = table('indexed', 0.7 * GIB);
    const small = table('small', 1000);
    const tables = [small, large, indexed];
    const costs = estimateTables(input(tables, { builds: new Map([builds(indexed, 8)]) }));
    const plan = { tables, tableJobs: 2, splitAbove: null, sourceMajor: 17 };
    const names = (tasks: readonly { table: SourceTable }[]): string[] => tasks.map((task) => task.table.name);
    expect(names(planTasks({ ...plan, paths: pathsOf(costs) }))).toEqual(['indexed', 'large', 'small']);
    expect(names(costs)).toEqual(['indexed', 'large', 'small']);
    expect(names(planTasks(plan))).toEqual(['large', 'indexed', 'small']);
  });

  test('a text table counts as longer than a binary one of the same size', () => {
    const binary = table('binary', GIB);
    const text = table('text', GIB, { columns: [{ name: 'a', type: { name: 'citext', kind: 'b', builtIn: false } }] });
    expect(estimateTables(input([binary, text])).map((cost) => [cost.table.name, cost.format])).toEqual([
      ['text', 'text'],
      ['binary', 'binary'],
    ]);
  });
});

describe('one table', () => {
  test.each([
    ['btree', entry('INDEX', 'CREATE INDEX i ON public.t USING btree (a);')],
    ['gin', entry('INDEX', 'CREATE INDEX i ON public.t USING gin (a);')],
    ['btree', entry('CONSTRAINT', 'ALTER TABLE ONLY public.t ADD CONSTRAINT p PRIMARY KEY (id);')],
    ['gist', entry('CONSTRAINT', 'ALTER TABLE ONLY public.t ADD CONSTRAINT e EXCLUDE USING gist (r WITH &&);')],
    ['check', entry('CONSTRAINT', 'ALTER TABLE public.t ADD CONSTRAINT c CHECK ((a > 0));')],
    ['btree', entry('INDEX', 'CREATE INDEX i ON public.t USING hnsw (a);')],
  ])('reads %s from its definition', (method, definition) => expect(methodOf(definition)).toBe(method));

  test.each([
    ['CREATE INDEX i ON public.t USING btree (t, id);', true],
    ['CREATE INDEX i ON public.t USING btree (id, t);', false],
    ['CREATE INDEX i ON public.t USING btree ("a t" DESC);', true],
    ['CREATE UNIQUE INDEX i ON public.t USING btree (lower(t));', false],
    ['ALTER TABLE ONLY public.t ADD CONSTRAINT p PRIMARY KEY (t);', true],
    ['ALTER TABLE ONLY public.t ADD CONSTRAINT u UNIQUE NULLS NOT DISTINCT (t);', true],
    ['ALTER TABLE public.t ADD CONSTRAINT c CHECK ((t > 0));', false],
  ])('whether %s sorts text: %s', (statement, text) => {
    const column = (name: string, type: string) => ({ name, type: { name: type, kind: 'b', builtIn: true } });
    const columns = [column('id', 'int4'), column('t', 'text'), column('a t', 'varchar')];
    expect(sortsText({ statements: [statement] }, columns)).toBe(text);
    expect(buildSeconds(GIB, 1_000_000, 'btree', true)).toBeGreaterThan(buildSeconds(GIB, 1_000_000, 'btree') + 1);
  });

  test('an index costs its scan and the sort of its rows', () => {
    expect(buildSeconds(GIB, 10_000_000, 'brin')).toBeCloseTo(COSTS.buildSeconds + GIB / COSTS.scanBytesPerSecond, 6);
    expect(buildSeconds(GIB, 10_000_000, 'btree')).toBeGreaterThan(buildSeconds(GIB, 1_000_000, 'btree') + 2);
    expect(buildSeconds(GIB, 1_000_000, 'gin')).toBeGreaterThan(buildSeconds(GIB, 1_000_000, 'btree'));
  });

  test('builds that lock the table alone follow each other, the others share', () => {
    const of = (exclusive: boolean, seconds: number) => ({ dumpId: 1, exclusive, seconds });
    expect(buildPath([of(true, 3), of(true, 2)], 4)).toBe(5);
    expect(buildPath([of(false, 2), of(false, 2)], 4)).toBe(2);
    expect(buildPath([of(true, 1), of(false, 2), of(false, 2)], 1)).toBe(5);
    expect(buildPath([], 4)).toBe(0);
  });

  test('rows come from the planner, else from the size; an empty table has none', () => {
    expect(rowsOf({ estimatedRows: 7, sizeBytes: GIB })).toBe(7);
    expect(rowsOf({ estimatedRows: null, sizeBytes: 1200 })).toBe(10);
    expect(rowsOf({ estimatedRows: 0, sizeBytes: 0, empty: true })).toBe(0);
  });
});

describe('schedule', () => {
  const [one] = estimateTables(input([table('any', GIB)]));
  const cost = (oid: number, copy: number, list: readonly number[], exclusive = false) => {
    if (one === undefined) throw new Error('a cost for each table');
    const seconds = list.reduce((sum, value) => sum + value, 0);
    return {
      ...one,
      table: { ...one.table, oid },
      copySeconds: copy,
      builds: list.map((value) => ({ dumpId: 1, exclusive, seconds: value })),
      buildSeconds: seconds,
      analyzeSeconds: 0,
    };
  };
  const plain = { tableJobs: 1, indexJobs: 1, lanes: 2, beside: 0, leaves: new Set<number>() };

  test('builds run beside the copies that follow, and the end names the table that comes last', () => {
    expect(schedule([cost(1, 4, [3]), cost(2, 4, [])], plain)).toMatchObject({ copyEnd: 8, end: 8, lastTable: 1 });
    expect(schedule([cost(2, 4, []), cost(1, 4, [3])], plain)).toMatchObject({ copyEnd: 8, end: 11, lastTable: 1 });
  });

  test('more streams than run at full speed slow each other down', () => {
    const four = [cost(1, 1, []), cost(2, 1, []), cost(3, 1, []), cost(4, 1, [])];
    expect(schedule(four, { ...plain, tableJobs: 4 }).copyEnd).toBeCloseTo(2, 9);
    expect(schedule(four, { ...plain, tableJobs: 4, lanes: 4 }).copyEnd).toBeCloseTo(1, 9);
    expect(schedule(four, { ...plain, tableJobs: 4 }).spent.get(3)?.copySeconds).toBeCloseTo(2, 9);
  });

  test('what locks a table alone waits; what shares it does not', () => {
    const jobs = { ...plain, indexJobs: 2 };
    expect(schedule([cost(1, 1, [2, 2], true)], jobs).end).toBeCloseTo(5, 9);
    expect(schedule([cost(1, 1, [2, 2], false)], jobs).end).toBeCloseTo(3, 9);
  });

  test('thousands of small tables come to the same put together as one by one, in no time', () => {
    const many = Array.from({ length: 10_000 }, (_, at) => {
      const small = cost(at + 1, 0.001, [0.001, 0.002]);
      return { ...small, table: { ...small.table, sizeBytes: at === 0 ? GIB : 8192 } };
    });
    const jobs = { ...plain, tableJobs: 4, indexJobs: 4 };
    const alone = schedule(many.slice(0, 1000), jobs);
    const together = schedule(folded(many.slice(0, 1000), new Set()), jobs);
    expect(together.end).toBeCloseTo(alone.end, 1);
    expect(together.spent.get(3)).toBeUndefined();
    expect(together.copyEnd).toBeLessThan(together.end);
    const begun = performance.now();
    expect(schedule(folded(many, new Set()), jobs).end).toBeCloseTo(20, 0);
    expect(performance.now() - begun).toBeLessThan(1000);
    expect(folded(many.slice(0, 100), new Set())).toHaveLength(100);
  });
});

describe('a whole clone', () => {
  const big = table('big', GIB);

  test('the phases add up to the whole, and each says what bounds it', () => {
    const estimate = estimateClone(input([big, table('t', 1000)], { builds: new Map([builds(big, 3)]) }));
    expect(estimate.seconds).toBeCloseTo(
      estimate.phases.reduce((sum, one) => sum + one.seconds, 0),
      9,
    );
    expect(estimate.phases.map((one) => one.phase)).toEqual([
      'schema',
      'copy',
      'indexes',
      'constraints',
      'analyze',
      'verify',
    ]);
    expect(estimate.phases.find((one) => one.phase === 'copy')?.bound).toBe('table "public"."big"');
    expect(estimate.phases.find((one) => one.phase === 'indexes')?.bound).toBe('indexes of "public"."big"');
    expect(estimate.bytes).toBe(GIB + 1000);
  });

  test('far servers cost round trips, nothing is built without builds, and what is not asked for costs nothing', () => {
    const near = estimateClone(input([big]));
    const far = estimateClone(input([big], { roundTripMs: { source: 80, target: 80 } }));
    expect(phase(far, 'schema')).toBeGreaterThan(phase(near, 'schema') + 3);
    expect(phase(near, 'indexes')).toBeLessThan(0.5);
    const sequences = { entries: { before: 201, after: 0, sequences: 200 }, roundTripMs: { source: 80, target: 80 } };
    // 41 s were measured of a pg_dump 15 that met 200 identity columns.
    expect(phase(estimateClone(input([big], sequences)), 'schema')).toBeGreaterThan(phase(far, 'schema') + 30);
    expect(phase(estimateClone(input([big], { verify: 'none' })), 'verify')).toBeNaN();
    expect(phase(estimateClone(input([big], { verify: 'counts' })), 'verify')).toBeLessThan(phase(near, 'verify'));
    const keys = estimateClone(input([big], { foreignKeys: [[big.oid, big.oid]] }));
    expect(phase(keys, 'constraints')).toBeGreaterThan(phase(near, 'constraints') + 0.5);
    const definitions = estimateClone(input([big], { schemaOnly: true }));
    expect(phase(definitions, 'copy')).toBeNaN();
    expect(definitions.bytes).toBe(0);
  });

  test('every figure is finite, also of nothing at all and of tables without statistics', () => {
    for (const tables of [[], [table('none', 0)], [table('unknown', GIB, { estimatedRows: null, pages: 0 })]]) {
      const estimate = estimateClone(input(tables));
      expect(
        [estimate.seconds, ...estimate.phases.map((one) => one.seconds)].every((n) => Number.isFinite(n) && n >= 0),
      ).toBe(true);
    }
  });

  test('the copy is corrected by what its first seconds measured, the rest stays', () => {
    const estimate = estimateClone(input([big], { builds: new Map([builds(big, 1)]) }));
    const copy = phase(estimate, 'copy');
    const after = corrected(estimate, { seconds: copy, fraction: 0.5 });
    expect(phase(after, 'copy')).toBeCloseTo(2 * copy, 9);
    expect(phase(after, 'verify')).toBe(phase(estimate, 'verify'));
    expect(after.seconds - estimate.seconds).toBeCloseTo(copy, 9);
    expect(after.tables[0]?.copySeconds).toBeCloseTo(2 * (estimate.tables[0]?.copySeconds ?? 0), 9);
    for (const nothing of [
      { seconds: 0, fraction: 0.5 },
      { seconds: 1, fraction: 0 },
    ])
      expect(corrected(estimate, nothing)).toBe(estimate);
    // One measured moment does not turn minutes into days.
    expect(phase(corrected(estimate, { seconds: 1e6, fraction: 1e-6 }), 'copy')).toBeLessThanOrEqual(20.001 * copy);
  });

  test('a correction is told at most twice, after some seconds, and only where it changes much', () => {
    const estimate = estimateClone(input([table('huge', 200 * GIB)]));
    const copy = phase(estimate, 'copy');
    const slow = (seconds: number, times: number): number => seconds / copy / times;
    const watch = new CostWatch(estimate, 0);
    expect(watch.look(slow(1, 3), 1000)).toBeNull();
    const first = watch.look(slow(4, 3), 4000);
    expect(phase(first?.after ?? estimate, 'copy')).toBeCloseTo(3 * copy, 3);
    expect(watch.look(slow(5, 9), 5000)).toBeNull();
    expect(watch.look(slow(31, 6), 31_000)?.before).toBe(first?.after);
    expect(watch.look(slow(90, 20), 90_000)).toBeNull();
    expect(new CostWatch(estimate, 0).look(slow(4, 1.1), 4000)).toBeNull();
  });
});

describe('words', () => {
  test('the sentence names the parts that matter, largest unit first', () => {
    const phases = [
      { phase: 'schema' as const, seconds: 0.2, bound: '' },
      { phase: 'copy' as const, seconds: 9.2, bound: '' },
      { phase: 'indexes' as const, seconds: 3, bound: '' },
      { phase: 'verify' as const, seconds: 1.8, bound: '' },
    ];
    const estimate = { tables: [], phases, seconds: 14.2, bytes: 1.2 * GIB, expected: new Map() };
    expect(estimateSentence(estimate)).toBe(
      'About 14 s for 1.2 GiB: 9 s copy, 3 s indexes, 2 s comparison; this is an estimate.',
    );
    expect(correctionSentence(estimate, corrected(estimate, { seconds: 9.2, fraction: 0.5 }))).toBe(
      'Estimate corrected to about 23 s instead of 14 s: the copy takes 18 s at 66.8 MiB a second.',
    );
  });
  test.each([
    [0.01, '0.1 s'],
    [0.44, '0.4 s'],
    [59.6, '60 s'],
    [150, '3 min'],
    [9000, '2.5 h'],
  ])('%s seconds are about %s', (seconds, words) => expect(aboutSeconds(seconds)).toBe(words));
});
