import type { JobEventBody } from '../contract/event.ts';
import type { JobView } from '../contract/job.ts';

export type Totals = JobView['totals'];

export const noTotals: Totals = { tables: 0, tablesDone: 0, tablesFailed: 0, rows: 0, bytes: 0, fraction: 0 };

/** A job's totals as its events tell them. */
export class TotalsTracker {
  readonly #failed = new Set<string>();
  readonly #copied = new Set<string>();
  #totals: Totals;

  constructor(totals: Totals) {
    this.#totals = totals;
  }

  get totals(): Totals {
    return this.#totals;
  }

  /** Tables whose data is whole in the target. */
  get tablesCopied(): number {
    return this.#copied.size;
  }

  /** Takes one event; answers how many rows and bytes were added since the last totals. */
  apply(body: JobEventBody): { rows: number; bytes: number } {
    if (body.type === 'table') {
      const key = JSON.stringify([body.table.schema, body.table.name]);
      mark(this.#failed, key, body.table.state === 'failed');
      mark(this.#copied, key, body.table.state === 'copied');
      this.#totals = { ...this.#totals, tablesFailed: this.#failed.size };
    }
    // What is compared is not copied again: the totals stay those of the copy.
    if (body.type !== 'metric' || body.comparing !== undefined) return { rows: 0, bytes: 0 };
    const before = this.#totals;
    this.#totals = {
      tables: body.tables,
      tablesDone: body.tablesDone,
      tablesFailed: this.#failed.size,
      rows: body.rows,
      bytes: body.bytes,
      fraction: body.fraction,
    };
    return { rows: Math.max(0, body.rows - before.rows), bytes: Math.max(0, body.bytes - before.bytes) };
  }

  /** A run that begins from zero. */
  reset(): void {
    this.#failed.clear();
    this.#copied.clear();
    this.#totals = noTotals;
  }
}

function mark(set: Set<string>, key: string, member: boolean): void {
  if (member) set.add(key);
  else set.delete(key);
}
