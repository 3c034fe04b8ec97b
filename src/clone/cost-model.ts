import type { SourceTable } from './catalogue.ts';
import { chooseFormat } from './format.ts';
import type { CopyFormat } from './format.ts';
import { piecesOf } from './plan.ts';
import type { PlanInput } from './plan.ts';
import type { TableBuild } from './post-data.ts';

const MIB = 1024 * 1024;

/**
 * Starting figures, rounded from runs on a small machine (2 cores that source, target and agent share, PostgreSQL 15, data in memory),
 * good within a factor of two or three: they order tables and give a first idea. What the first seconds of a copy measure takes their
 * place (`corrected`).
 */
export const COSTS = {
  /** Of the table's size on the source, bytes/s of one COPY. */
  binaryBytesPerSecond: 260 * MIB,
  textBytesPerSecond: 160 * MIB,
  /** One value, written by one server and read by the other, seconds. */
  valueSeconds: 70e-9,
  /** Seconds of one COPY beside its bytes: transaction, TRUNCATE, file of the table. */
  tableSeconds: 0.004,
  /** The same where many small tables share a transaction. */
  smallTableSeconds: 0.000_8,
  /** Of a table that is known to be empty: nothing is asked of either server. */
  emptyTableSeconds: 0.000_02,
  /** One after another: settings and TRUNCATE, COPY, COMMIT. */
  tableRoundTrips: 3,
  /** Tables that share their round trips when they are small. */
  smallTablesTogether: 40,
  /** Pages of a table that was just written, read again by a build, bytes/s. */
  scanBytesPerSecond: 1200 * MIB,
  /** Seconds of one comparison of a sort; there are rows × log2(rows) of them. */
  sortSeconds: 10e-9,
  /** How much longer where the first key is text, which is compared by its collation. */
  collatedFactor: 10,
  /** Seconds of one index or constraint beside its rows: files, catalogue, commit. */
  buildSeconds: 0.004,
  /** The same for tables of up to 1 MiB, of which many share a transaction. */
  smallBuildSeconds: 0.000_4,
  /** How much longer than a btree. */
  buildFactors: { btree: 1, hash: 1.3, gin: 6, gist: 5, spgist: 4, brin: 0, check: 0 },
  /** One row that a foreign key looks up, seconds. */
  keyRowSeconds: 0.35e-6,
  /** A checksum over all columns on both servers at once, bytes/s. */
  checksumBytesPerSecond: 230 * MIB,
  /** A count on both servers at once, bytes/s. */
  countBytesPerSecond: 900 * MIB,
  /** Seconds of one table's comparison beside its bytes. */
  compareSeconds: 0.0012,
  /** ANALYZE reads a sample: seconds for a page, and the pages it reads at most. */
  analyzePageSeconds: 6e-6,
  analyzeMostPages: 30_000,
  /** pg_dump: its start, one definition, and questions that it asks one after another. */
  dumpSeconds: 0.12,
  dumpEntrySeconds: 0.000_25,
  dumpRoundTrips: 70,
  /** Of each sequence, which it asks about one by one (up to version 17). */
  dumpSequenceRoundTrips: 2,
  /** One definition on the target, seconds. */
  restoreEntrySeconds: 0.000_4,
  restoreTogether: 100,
  largeObjectSeconds: 40e-6,
  largeObjectBytesPerSecond: 60 * MIB,
  /** Where the planner never looked at a table, bytes. */
  assumedRowBytes: 120,
  /** Streams that run at full speed beside each other; of more, each is slower. The servers' cores are not known. */
  fullSpeedLanes: 2,
} as const;

/** Up to this size tables are copied many at a time, bytes: of none of them is known what it took alone. */
export const SMALL_BYTES = 64 * 1024;
/** Up to this size their indexes are built many at a time, bytes. */
const SMALL_BUILD_BYTES = MIB;

/** One index or constraint of a table. */
export interface BuildCost {
  readonly dumpId: number;
  readonly seconds: number;
  /** Locks the table alone. */
  readonly exclusive: boolean;
}

/** What one table costs, seconds of one stream that has the machine for itself. */
export interface TableCost {
  readonly table: SourceTable;
  readonly format: CopyFormat;
  readonly pieces: number;
  /** Estimated where the planner has never looked. */
  readonly rows: number;
  readonly copySeconds: number;
  readonly builds: readonly BuildCost[];
  /** All of its builds one after another. */
  readonly buildSeconds: number;
  readonly analyzeSeconds: number;
  readonly verifySeconds: number;
  /** From the start of its copy to the end of its last build, were nothing else to be done: what orders the copies. */
  readonly pathSeconds: number;
}

export interface CostInput {
  readonly tables: readonly SourceTable[];
  /** Indexes and constraints by the table's oid. */
  readonly builds: ReadonlyMap<number, readonly TableBuild[]>;
  readonly plan: Omit<PlanInput, 'tables' | 'paths'>;
  readonly indexJobs: number;
  readonly verify: 'none' | 'counts' | 'full';
  readonly roundTripMs: { readonly source: number; readonly target: number };
  readonly dataOnly: boolean;
}

/** Rows that a table holds, as far as its statistics or its size tell. Pure. */
export function rowsOf(table: Pick<SourceTable, 'estimatedRows' | 'sizeBytes' | 'empty'>): number {
  if (table.empty === true) return 0;
  const known = table.estimatedRows ?? 0;
  return known > 0 ? known : Math.ceil(table.sizeBytes / COSTS.assumedRowBytes);
}

type Method = keyof typeof COSTS.buildFactors;

function isMethod(word: string): word is Method {
  return Object.hasOwn(COSTS.buildFactors, word);
}

/** The access method that a definition of pg_dump names; `check` only looks at the rows. Of an unknown one nothing is known: btree. Pure. */
export function methodOf(entry: { readonly type: string; readonly statements: readonly string[] }): Method {
  const text = entry.statements.join('\n');
  const named = /\bUSING ([a-z_0-9]+) \(/.exec(text)?.[1] ?? '';
  if (isMethod(named)) return named;
  return entry.type === 'CONSTRAINT' && !/\b(PRIMARY KEY|UNIQUE|EXCLUDE)\b/.test(text) ? 'check' : 'btree';
}

function fixed(bytes: number): number {
  return bytes <= SMALL_BUILD_BYTES ? COSTS.smallBuildSeconds : COSTS.buildSeconds;
}

const collated: ReadonlySet<string> = new Set(['text', 'varchar', 'bpchar', 'citext']);

/** True where the first key of a definition is a column of text; an expression is taken for one that is not. Pure. */
export function sortsText(entry: { readonly statements: readonly string[] }, columns: SourceTable['columns']): boolean {
  const keys =
    /(?:USING [a-z_0-9]+|PRIMARY KEY|UNIQUE(?: NULLS NOT DISTINCT)?) \((?:"((?:[^"]|"")+)"|([^\s,()"]+))[\s,)]/;
  const [, quoted, plain] = keys.exec(entry.statements.join('\n')) ?? [];
  const name = quoted?.replaceAll('""', '"') ?? plain;
  const type = columns.find((column) => column.name === name)?.type.name;
  return type !== undefined && collated.has(type);
}

/** Seconds to build one index over a table of that size: its scan, and the sort of its rows. Pure. */
export function buildSeconds(bytes: number, rows: number, method: Method, text = false): number {
  const sorted =
    rows * Math.log2(Math.max(2, rows)) * COSTS.sortSeconds * (text && method === 'btree' ? COSTS.collatedFactor : 1);
  return fixed(bytes) + bytes / COSTS.scanBytesPerSecond + sorted * COSTS.buildFactors[method];
}

/** Seconds until all builds of one table are done: those that lock it alone follow each other, the others go side by side. Pure. */
export function buildPath(builds: readonly BuildCost[], jobs: number): number {
  const alone = builds.filter((build) => build.exclusive).reduce((sum, build) => sum + build.seconds, 0);
  const shared = builds.filter((build) => !build.exclusive).map((build) => build.seconds);
  const lanes = Math.max(1, Math.min(jobs, COSTS.fullSpeedLanes));
  return alone + Math.max(0, ...shared, shared.reduce((sum, seconds) => sum + seconds, 0) / lanes);
}

/** Seconds that one stream waits for answers; crowding does not make them longer, so it is taken out beforehand. */
export function waits(roundTrips: number, ms: number, jobs: number): number {
  return (roundTrips * ms * Math.min(1, COSTS.fullSpeedLanes / Math.max(1, jobs))) / 1000;
}

function copySeconds(table: SourceTable, format: CopyFormat, pieces: number, input: CostInput): number {
  if (table.empty === true) return COSTS.emptyTableSeconds;
  const rate = format === 'binary' ? COSTS.binaryBytesPerSecond : COSTS.textBytesPerSecond;
  const small = table.sizeBytes <= SMALL_BYTES && !input.dataOnly;
  const wait = waits(COSTS.tableRoundTrips, input.roundTripMs.target + input.roundTripMs.source, input.plan.tableJobs);
  const contents = table.sizeBytes / rate + rowsOf(table) * table.columns.length * COSTS.valueSeconds;
  return small
    ? COSTS.smallTableSeconds + wait / COSTS.smallTablesTogether + contents
    : (COSTS.tableSeconds + wait) * pieces + contents;
}

function verifySeconds(table: SourceTable, { verify }: CostInput): number {
  if (verify === 'none') return 0;
  const rate = verify === 'full' ? COSTS.checksumBytesPerSecond : COSTS.countBytesPerSecond;
  return COSTS.compareSeconds + table.sizeBytes / rate;
}

function tableCost(table: SourceTable, all: PlanInput, input: CostInput): TableCost {
  const format = chooseFormat(table.columns);
  // Pieces cannot empty a table that was there before.
  const pieces = input.dataOnly ? 1 : piecesOf(table, all);
  const rows = rowsOf(table);
  const together = table.sizeBytes <= SMALL_BUILD_BYTES ? COSTS.smallTablesTogether : 1;
  const wait = waits(1, input.roundTripMs.target, input.indexJobs) / together;
  const builds = (input.builds.get(table.oid) ?? []).map(({ entry, exclusive }) => ({
    dumpId: entry.dumpId,
    exclusive,
    seconds: wait + buildSeconds(table.sizeBytes, rows, methodOf(entry), sortsText(entry, table.columns)),
  }));
  const copy = copySeconds(table, format, pieces, input);
  return {
    table,
    format,
    pieces,
    rows,
    copySeconds: copy,
    builds,
    buildSeconds: builds.reduce((sum, build) => sum + build.seconds, 0),
    analyzeSeconds:
      table.sizeBytes === 0
        ? 0
        : wait + fixed(table.sizeBytes) + Math.min(table.pages, COSTS.analyzeMostPages) * COSTS.analyzePageSeconds,
    verifySeconds: verifySeconds(table, input),
    pathSeconds: copy / pieces + buildPath(builds, input.indexJobs),
  };
}

/** What every table costs, the longest path first. Pure. */
export function estimateTables(input: CostInput): TableCost[] {
  const plan: PlanInput = { ...input.plan, tables: input.tables };
  return input.tables
    .map((table) => tableCost(table, plan, input))
    .toSorted((a, b) => b.pathSeconds - a.pathSeconds || b.table.sizeBytes - a.table.sizeBytes);
}

/** Seconds of each table's path by its oid, for the order of the copies. Pure. */
export function pathsOf(costs: readonly TableCost[]): ReadonlyMap<number, number> {
  return new Map(costs.map(({ table, pathSeconds }) => [table.oid, pathSeconds]));
}
