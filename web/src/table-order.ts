import type { TableProgress, TableState } from '../../src/contract/event.ts';
import { tableFraction } from './model.ts';

export type SortKey = 'attention' | 'name' | 'progress' | 'rows' | 'bytes';

const attention: Record<TableState, number> = { failed: 0, copying: 1, pending: 2, copied: 3, skipped: 4 };

const compareBy: Record<SortKey, (a: TableProgress, b: TableProgress) => number> = {
  attention: (a, b) => attention[a.state] - attention[b.state] || b.sizeBytes - a.sizeBytes,
  name: () => 0,
  progress: (a, b) => tableFraction(b) - tableFraction(a),
  rows: (a, b) => b.rows - a.rows,
  bytes: (a, b) => b.bytes - a.bytes,
};

const byName = (a: TableProgress, b: TableProgress): number =>
  a.schema < b.schema ? -1 : a.schema > b.schema ? 1 : a.name < b.name ? -1 : a.name > b.name ? 1 : 0;

/**
 * Tables as the list shows them. `attention` puts first what needs a look (failed, then moving, then waiting, the
 * largest first); `search` is a case-insensitive part of `schema.name`.
 */
export function orderTables(
  tables: Iterable<TableProgress>,
  options: { readonly sort: SortKey; readonly search: string; readonly state: TableState | 'all' },
): TableProgress[] {
  const search = options.search.trim().toLowerCase();
  const kept: TableProgress[] = [];
  for (const table of tables) {
    if (options.state !== 'all' && table.state !== options.state) continue;
    if (search !== '' && !`${table.schema}.${table.name}`.toLowerCase().includes(search)) continue;
    kept.push(table);
  }
  const compare = compareBy[options.sort];
  return kept.toSorted((a, b) => compare(a, b) || byName(a, b));
}
