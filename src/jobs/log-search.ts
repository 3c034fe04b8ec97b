import { setImmediate as nextTurn } from 'node:timers/promises';
import type { JobEvent, LogLevel } from '../contract/event.ts';
import { eventsOf, type StoredBatch } from '../store/event-queries.ts';

export interface LogFilter {
  readonly after: number;
  readonly limit: number;
  /** This level and the graver ones. */
  readonly level: LogLevel;
  /** Text that the message holds, whatever its case. */
  readonly search: string | null;
}

export interface LogPage {
  readonly events: JobEvent[];
  /** Where to go on: the log is looked through up to this seq. Null: to its end. */
  readonly next: number | null;
}

export interface LogSource {
  /** The job's last stored seq. */
  readonly last: number;
  read(after: number, events: number): Promise<StoredBatch[]>;
}

const levels: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];
const eventsPerRead = 2_000;

/** Whether an event is one that is looked for. Pure. */
export function logMatcher({ level, search }: Pick<LogFilter, 'level' | 'search'>): (event: JobEvent) => boolean {
  const grave = new Set(levels.slice(levels.indexOf(level)));
  const wanted = search === null ? '' : search.toLowerCase();
  return (event) =>
    event.type === 'log' && grave.has(event.level) && (wanted === '' || event.message.toLowerCase().includes(wanted));
}

/** Whether a batch can hold such an event at all, told by its text: what cannot is not even parsed. Pure. */
export function batchMatcher({ level, search }: Pick<LogFilter, 'level' | 'search'>): (text: string) => boolean {
  const graver = levels.slice(levels.indexOf(level));
  const byLevel = level === 'debug' ? null : new RegExp(`"level": ?"(?:${graver.join('|')})"`);
  // Letters and digits are written in JSON as they are; of other characters it is not certain.
  const plain = /[\p{L}\p{N} ]+/gu;
  const pieces = (search ?? '').toLowerCase().match(plain) ?? [];
  const longest = pieces.reduce((best, piece) => (piece.length > best.length ? piece : best), '');
  return (text) => (byLevel === null || byLevel.test(text)) && (longest === '' || text.toLowerCase().includes(longest));
}

/**
 * Looks through a log piece by piece, so that requests and streams come in between, for at most `budgetMs`: then it says how far it
 * came. At least one piece is read, so whoever goes on comes to the end.
 */
export async function searchLog(source: LogSource, filter: LogFilter, budgetMs: number): Promise<LogPage> {
  const until = Date.now() + budgetMs;
  const matches = logMatcher(filter);
  const mayHold = batchMatcher(filter);
  const events: JobEvent[] = [];
  let cursor = filter.after;
  while (cursor < source.last) {
    const batches = await source.read(cursor, eventsPerRead);
    for (const batch of batches) {
      if (mayHold(batch.events)) {
        for (const event of eventsOf(batch)) {
          if (event.seq <= cursor || !matches(event)) continue;
          events.push(event);
          if (events.length === filter.limit) return { events, next: event.seq < source.last ? event.seq : null };
        }
      }
      cursor = batch.lastSeq;
    }
    if (batches.length === 0) break;
    if (cursor < source.last && Date.now() > until) return { events, next: cursor };
    await nextTurn();
  }
  return { events, next: null };
}
