import { PgsluiceError } from '../errors.ts';
import type { Lsn } from '../postgres/lsn.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { AppliedBatch, TableGate, Transaction } from './types.ts';

export interface ApplierInput {
  readonly settings: ConnectionSettings;
  readonly job: string;
  /** As {@link takeOver} answered. */
  readonly epoch: bigint;
  readonly applied: Lsn;
  readonly gates: readonly TableGate[];
  /** Relations of the source, as schema.name, whose changes are left out knowingly. */
  readonly ignored?: ReadonlySet<string>;
  readonly signal: AbortSignal;
  log(level: 'debug' | 'info' | 'warn', message: string): void;
}

/** Brings transactions of the source into the target, exactly once. */
export class Applier {
  #applied: Lsn;

  private constructor(input: ApplierInput) {
    this.#applied = input.applied;
  }

  static open(input: ApplierInput): Promise<Applier> {
    return Promise.resolve(new Applier(input));
  }

  get applied(): Lsn {
    return this.#applied;
  }

  apply(batch: readonly Transaction[]): Promise<AppliedBatch> {
    return Promise.reject(
      new PgsluiceError({ code: 'NOT_BUILT', message: `${batch.length} transactions wait.`, hint: 'Not built yet.' }),
    );
  }

  addGate(gate: TableGate): void {
    void gate;
  }

  forgetShapes(): void {
    this.#applied += 0n;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
