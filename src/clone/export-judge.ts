import type { ManifestTable } from '../contract/manifest.ts';
import type { TableVerification } from '../contract/report.ts';
import { PgsluiceError } from '../errors.ts';
import { qualified } from '../postgres/quote.ts';
import type { SourceTable } from './catalogue.ts';
import { type DumpedRows, tableKey } from './export-dump.ts';

export interface Holding {
  /** What the manifest is about to say. */
  readonly tables: readonly ManifestTable[];
  /** Tables of the moment, with the root by which pg_dump may write the rows of a partition. */
  readonly moment: readonly SourceTable[];
  /** Rows that pg_dump was sent. */
  readonly dumped: DumpedRows;
  /** Rows in the archive, as pg_restore prints it; null where it was not read. */
  readonly printed: ReadonlyMap<string, { readonly rows: number }> | null;
}

export interface Judged {
  readonly tables: readonly ManifestTable[];
  readonly verified: readonly TableVerification[];
  /** Sentences about tables of extensions that pg_dump leaves out. */
  readonly left: readonly string[];
}

/** Rows by the table that they are restored into: partitions whose rows are routed anew count as their root's. */
function byTarget(holding: Holding, rows: Iterable<readonly [string, number]>): Map<string, number> {
  const roots = new Map(
    holding.moment.flatMap((table) => (table.via === null ? [] : [[tableKey(table), tableKey(table.via)] as const])),
  );
  const sums = new Map<string, number>();
  for (const [key, count] of rows) {
    const target = roots.get(key) ?? key;
    sums.set(target, (sums.get(target) ?? 0) + count);
  }
  return sums;
}

/**
 * Holds what the source counted against what pg_dump was sent and what stands in the archive. Pure.
 * @throws PgsluiceError ARCHIVE_INCOMPLETE which names every table that lacks rows or has too many.
 */
export function judgeHolding(holding: Holding): Judged {
  const dumped = byTarget(holding, holding.dumped);
  const printed =
    holding.printed === null
      ? null
      : byTarget(
          holding,
          [...holding.printed].map(([key, { rows }]) => [key, rows] as const),
        );
  const ofExtension = new Set(
    holding.moment.filter((table) => table.extensionCondition !== null).map((table) => tableKey(table)),
  );
  const tables: ManifestTable[] = [];
  const verified: TableVerification[] = [];
  const left: string[] = [];
  const wrong: string[] = [];
  for (const table of holding.tables) {
    const key = tableKey(table);
    const name = qualified(table.schema, table.name);
    if (table.kind === 'materialized view') {
      tables.push(table);
      continue;
    }
    const sent = dumped.get(key) ?? null;
    if (sent === null && ofExtension.has(key)) {
      left.push(`pg_dump leaves out the rows of ${name}: its extension is not part of the archive.`);
      continue;
    }
    const inArchive = printed === null ? sent : (printed.get(key) ?? null);
    tables.push({ ...table, rows: table.rows ?? sent });
    const counted = table.rows ?? sent;
    if (counted === null || counted !== sent || counted !== inArchive) {
      const figure = (rows: number | null): string => (rows === null ? 'none' : rows.toLocaleString('en-US'));
      wrong.push(`${name} (source ${figure(counted)}, read ${figure(sent)}, in the archive ${figure(inArchive)})`);
      continue;
    }
    verified.push({
      schema: table.schema,
      name: table.name,
      sourceRows: counted,
      targetRows: inArchive,
      sourceChecksum: table.checksum,
      targetChecksum: null,
      equal: true,
      seconds: 0,
    });
  }
  if (wrong.length > 0) throw incomplete(wrong);
  return { tables, verified, left };
}

function incomplete(wrong: readonly string[]): PgsluiceError {
  const named = wrong.slice(0, 10).join('; ');
  return new PgsluiceError({
    code: 'ARCHIVE_INCOMPLETE',
    message: `The archive does not hold the rows that the source counted: ${named}${wrong.length > 10 ? '; …' : ''}. It is given up.`,
    hint: 'Retry the job. If it happens again, look for corrupt indexes on these tables (REINDEX) and for changes to the disk below the archive.',
    retryable: true,
  });
}
