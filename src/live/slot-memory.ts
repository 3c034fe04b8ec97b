import type { Lsn } from '../postgres/lsn.ts';

const LONGEST_SILENCE_MS = 600_000;

/**
 * What one connection to a slot has to know of the ones before it, so that the same trouble does not end each of them at the same
 * place. Of this process only: a new one learns it again.
 */
class SlotMemory {
  readonly #sentWhole = new Set<string>();
  readonly #silences = new Map<string, { readonly ms: number; readonly told: Lsn }>();

  /**
   * The source broke off while it sent a transaction that had not committed. It cannot read its own catalogue when a savepoint's
   * ALTER TABLE was rolled back and the table is altered again (15 to 18: "could not map filenode"); sent whole, it comes.
   */
  failedToStream(slot: string): void {
    this.#sentWhole.add(slot);
  }

  /** Whether large transactions may be asked for before they commit. */
  streams(slot: string): boolean {
    return !this.#sentWhole.has(slot);
  }

  /**
   * The source was silent for `ms` after `told`. It is while it works through a transaction of which it has to tell nothing; cut
   * off each time after as long, it would never get past it. So twice as long is borne next.
   */
  wasSilent(slot: string, ms: number, told: Lsn): void {
    const before = this.#silences.get(slot)?.told ?? 0n;
    this.#silences.set(slot, { ms: Math.min(2 * ms, LONGEST_SILENCE_MS), told: told > before ? told : before });
  }

  /** What is to be borne, in ms; null for the ordinary. */
  silenceMs(slot: string): number | null {
    return this.#silences.get(slot)?.ms ?? null;
  }

  /** The source has come to `lsn`. */
  came(slot: string, lsn: Lsn): void {
    const silence = this.#silences.get(slot);
    if (silence !== undefined && lsn > silence.told) this.#silences.delete(slot);
  }
}

export const slotMemory = new SlotMemory();
