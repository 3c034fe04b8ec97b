import type { JobEventBody } from '../contract/event.ts';

/** What a pause has to wait for: indexes and constraints that the target builds now, each in one statement. */
export class UnderWay {
  readonly #building = new Map<string, string>();

  /** Answers whether `event` has ended the last of them. */
  note(event: JobEventBody): boolean {
    if (event.type !== 'index') return false;
    const key = JSON.stringify([event.kind, event.schema, event.table, event.name]);
    if (event.state === 'building') {
      this.#building.set(key, `${event.schema}.${event.name}`);
      return false;
    }
    return this.#building.delete(key) && this.#building.size === 0;
  }

  /** A sentence for whoever pauses the job; '' when nothing is under way. */
  get words(): string {
    const names = [...this.#building.values()];
    if (names.length === 0) return '';
    const shown = names.slice(0, 3).join(', ') + (names.length > 3 ? ` and ${names.length - 3} more` : '');
    return ` The target first comes to the end of what it builds now: ${shown}.`;
  }
}
