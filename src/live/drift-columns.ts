import type { ShapeChange } from './drift-diff.ts';
import type { ColumnShape, SourceShape, TableShape } from './drift-shape.ts';
import { tableName } from './drift-sql.ts';

/** attnum of columns that only a moment of the stream knows: beyond every real one (1,600 columns a table). */
export const FIRST_UNKNOWN = 10_000;

/** Columns by their table's oid on the source, then by name. */
export class ColumnMemory {
  readonly #tables = new Map<number, Map<string, ColumnShape>>();

  get empty(): boolean {
    return this.#tables.size === 0;
  }

  of(oid: number): ReadonlyMap<string, ColumnShape> {
    return this.#tables.get(oid) ?? new Map<string, ColumnShape>();
  }

  put(oid: number, column: ColumnShape): void {
    const columns = this.#tables.get(oid) ?? new Map<string, ColumnShape>();
    this.#tables.set(oid, columns.set(column.name, column));
  }

  clear(): void {
    this.#tables.clear();
  }

  /**
   * Notes columns that the target is given ahead of everything else that has changed, on their table of `before` and on all that
   * inherit from it. `changes`: on the tables where they are made.
   */
  noteAdded(before: SourceShape, changes: readonly ShapeChange[]): void {
    const byOid = new Map(before.tables.map((table) => [table.oid, table]));
    const below = (table: TableShape, name: string): boolean =>
      table.parents.some((parent) => {
        const above = byOid.get(parent.oid);
        return tableName(parent) === name || (above !== undefined && below(above, name));
      });
    for (const change of changes) {
      if (change.kind !== 'column-added') continue;
      const name = tableName(change.table);
      for (const table of before.tables) {
        const inherited = below(table, name);
        if (!inherited && tableName(table) !== name) continue;
        const known = [...table.columns, ...this.of(table.oid).values()].map((column) => column.attnum);
        const unknown = change.column.attnum >= FIRST_UNKNOWN;
        const attnum = unknown ? 1 + Math.max(FIRST_UNKNOWN, ...known) : change.column.attnum;
        this.put(table.oid, { ...change.column, attnum, inherited });
      }
    }
  }

  /** `shape` with these columns; of those that `present` has, given that, without them. */
  addTo(shape: SourceShape, present: SourceShape | null): SourceShape {
    if (this.empty) return shape;
    const now = new Map(present?.tables.map((table) => [table.oid, table]));
    return {
      ...shape,
      tables: shape.tables.map((table) => {
        const alive = new Set(now.get(table.oid)?.columns.map((column) => column.attnum));
        const has = new Set(table.columns.map((column) => column.name));
        const more = [...this.of(table.oid).values()].filter(
          ({ attnum, name }) => !alive.has(attnum) && !has.has(name),
        );
        return more.length === 0 ? table : { ...table, columns: [...table.columns, ...more] };
      }),
    };
  }
}
