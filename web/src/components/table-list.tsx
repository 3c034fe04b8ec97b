import { useSignal } from '@preact/signals';
import { useMemo, useRef } from 'preact/hooks';
import type { JobState, TableProgress, TableState } from '../../../src/contract/event.ts';
import { formatBytes, formatCount, formatDuration, formatPercent, formatRate, plural } from '../format.ts';
import type { JobSession } from '../job-session.ts';
import { sharedJob } from '../session.ts';
import { kindWords, type KindWords } from '../kind-words.ts';
import { tableFraction, tableKey } from '../model.ts';
import { orderTables, type SortKey } from '../table-order.ts';
import { useVirtualRows } from '../use-virtual.ts';
import type { Tone } from '../words.ts';
import { ProgressBar } from './parts.tsx';
import { Select } from './select.tsx';

const columns: readonly { readonly sort: SortKey; readonly label: string; readonly numeric: boolean }[] = [
  { sort: 'name', label: 'Table', numeric: false },
  { sort: 'progress', label: 'Progress', numeric: false },
  { sort: 'rows', label: 'Rows', numeric: true },
  { sort: 'bytes', label: 'Data', numeric: true },
];

const sortOptions: readonly { readonly value: SortKey; readonly label: string }[] = [
  { value: 'attention', label: 'Needs a look first' },
  ...columns.map(({ sort, label }) => ({ value: sort, label })),
];

const stateOptions = (words: KindWords): readonly { readonly value: TableState | 'all'; readonly label: string }[] => [
  { value: 'all', label: 'All states' },
  ...(['pending', 'copying', 'copied', 'failed', 'skipped'] as const).map((value) => ({
    value,
    label: words.table[value],
  })),
];

const tones: Record<TableState, Tone> = {
  pending: 'neutral',
  copying: 'active',
  copied: 'good',
  failed: 'bad',
  skipped: 'neutral',
};

/** Every table with its bar. Only the rows in view are in the document, so tens of thousands of tables scroll well. */
export function TableList({ session }: { session: JobSession }) {
  const sort = useSignal<SortKey>('attention');
  const search = useSignal('');
  const state = useSignal<TableState | 'all'>('all');
  const scroller = useRef<HTMLDivElement>(null);
  const all = session.tables.value;
  const jobState = session.job.value?.state;
  const words = kindWords(session.job.value ?? { kind: 'move' });
  const moving = jobState === 'running';
  const options = { sort: sort.value, search: search.value, state: state.value };
  const tables = useMemo(() => orderTables(all.values(), options), [all, sort.value, search.value, state.value]);
  const rows = useVirtualRows({
    count: tables.length,
    scroller,
    estimatedHeight: 46,
    keyOf: (index) => tableKey(tables[index] ?? { schema: '', name: String(index) }),
  });
  const filled = tables.length > 0;
  const failed = useMemo(() => [...all.values()].filter((table) => table.state === 'failed').length, [all]);

  return (
    <section class="panel card" aria-labelledby="tables-title">
      <div class="panel-head">
        <h2 id="tables-title">
          Tables <span class="count">{formatCount(all.size)}</span>
        </h2>
        <div class="panel-tools">
          <input
            type="search"
            aria-label="Find a table"
            placeholder="Find a table"
            value={search.value}
            onInput={(event) => (search.value = event.currentTarget.value)}
          />
          <Select
            aria-label="Show tables that are"
            value={state.value}
            options={stateOptions(words)}
            onChange={(value) => (state.value = value)}
          />
          <Select
            class="narrow-only"
            aria-label="Sort by"
            value={sort.value}
            options={sortOptions}
            onChange={(value) => (sort.value = value)}
          />
        </div>
      </div>
      {failed > 0 && (
        <p class="note tone-bad">
          {plural(failed, 'table')} failed; the cause stands beside each.{moving ? ' The other tables go on.' : ''}
        </p>
      )}
      {/* A table without rows is none for a screen reader, so the roles come with the rows. */}
      <div
        class="tables"
        role={filled ? 'table' : undefined}
        aria-labelledby={filled ? 'tables-title' : undefined}
        aria-rowcount={filled ? tables.length + 1 : undefined}
      >
        <div role="rowgroup" class="tables-head wide-only" hidden={!filled}>
          <div role="row" aria-rowindex={1} class="table-grid">
            {columns.map((column) => (
              <div
                key={column.sort}
                role="columnheader"
                class={column.numeric ? 'numeric' : ''}
                aria-sort={sort.value === column.sort ? (column.sort === 'name' ? 'ascending' : 'descending') : 'none'}
              >
                <button
                  type="button"
                  class="column-button"
                  onClick={() => (sort.value = sort.value === column.sort ? 'attention' : column.sort)}
                >
                  {column.label}
                </button>
              </div>
            ))}
          </div>
        </div>
        <div
          role={filled ? 'rowgroup' : undefined}
          class="tables-body"
          ref={scroller}
          tabIndex={filled ? 0 : undefined}
          aria-label={filled ? 'Tables, scrollable' : undefined}
        >
          <div role="presentation" class="virtual-space" style={{ height: `${rows.totalSize}px` }}>
            {rows.items.map((item) => {
              const table = tables[item.index];
              return (
                table && (
                  <div
                    key={item.key}
                    ref={rows.measure}
                    data-index={item.index}
                    role="row"
                    aria-rowindex={item.index + 2}
                    class="table-row"
                    data-testid="table-row"
                    data-table={`${table.schema}.${table.name}`}
                    data-state={table.state}
                    style={{ transform: `translateY(${item.start}px)` }}
                  >
                    <TableCells table={table} words={words} jobState={jobState} session={session} />
                  </div>
                )
              );
            })}
          </div>
          {tables.length === 0 && (
            <p class="muted empty">
              {all.size === 0 ? 'The list appears as soon as the copy is planned.' : 'No table fits the filter.'}
            </p>
          )}
        </div>
      </div>
    </section>
  );
}

interface CellsProps {
  readonly table: TableProgress;
  readonly words: KindWords;
  readonly jobState: JobState | undefined;
  readonly session: JobSession;
}

function TableCells({ table, words, jobState, session }: CellsProps) {
  const fraction = tableFraction(table);
  return (
    <>
      <div class="table-grid" role="presentation">
        <div role="cell" class="table-name">
          <span class="table-schema">{table.schema}.</span>
          {table.name}
        </div>
        <div role="cell" class="table-progress">
          <ProgressBar
            fraction={fraction}
            label={`Progress of ${table.schema}.${table.name}`}
            text={`${words.table[table.state]}, ${formatPercent(fraction)}`}
            tone={tones[table.state]}
          />
          <span class="table-state">{stateText(table, words, fraction, jobState === 'running')}</span>
        </div>
        <div role="cell" class="numeric">
          {formatCount(table.rows)}
          <span class="narrow-only"> rows</span>
        </div>
        <div role="cell" class="numeric">
          {formatBytes(table.bytes)}
        </div>
      </div>
      {table.error !== null && (
        <div class="table-error" role="cell">
          <p>{table.error.message}</p>
          {table.error.hint !== '' && <p class="hint">{table.error.hint}</p>}
          <p>
            <span class="code">{table.error.code}</span>
            {table.attempts > 1 && <span class="muted"> tried {table.attempts} times</span>}
            {jobState === 'failed' && sharedJob.value === null && (
              <button
                type="button"
                class="small"
                disabled={session.acting.value !== null}
                onClick={() => void session.act('retry')}
              >
                Retry<span class="visually-hidden"> the failed tables</span>
              </button>
            )}
          </p>
        </div>
      )}
    </>
  );
}

function stateText(table: TableProgress, words: KindWords, fraction: number, moving: boolean): string {
  switch (table.state) {
    case 'copying':
      return moving
        ? `${formatPercent(fraction)} · ${formatRate(table.rate)}`
        : `Stopped at ${formatPercent(fraction)}`;
    case 'copied':
      return `${words.table.copied} in ${formatDuration(table.seconds)}`;
    case 'pending':
      return table.sizeBytes > 0 ? `Waiting · ${formatBytes(table.sizeBytes)}` : 'Waiting';
    case 'failed':
    case 'skipped':
      return words.table[table.state];
  }
}
