import type { JobEvent } from '../contract/event.ts';
import type { LogPage } from '../jobs/log-search.ts';
import type { LogQuery } from '../jobs/manager.ts';

const pageSize = 5000;

/** One event a line: time, level, message. A message of several lines is indented, so that lines stay countable. */
export function logLine(event: JobEvent): string {
  if (event.type !== 'log') return '';
  // oxlint-disable-next-line no-control-regex -- terminal control characters are what is taken out here
  const message = event.message.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '').replaceAll('\n', '\n    ');
  return `${event.at} ${event.level.toUpperCase().padEnd(5)} ${message}\n`;
}

/** The log as a stream of text, read from the store page by page as the client takes it. */
export function logText(
  read: (query: LogQuery) => Promise<LogPage>,
  query: LogQuery,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder();
  let after: number | null = query.after ?? 0;
  let left = query.limit ?? Number.POSITIVE_INFINITY;
  return new ReadableStream({
    async pull(controller) {
      for (;;) {
        const limit = Math.min(pageSize, left);
        if (after === null || limit <= 0) return controller.close();
        const { events, next }: LogPage = await read({ ...query, after, limit });
        after = next;
        left -= events.length;
        if (events.length === 0) continue;
        return controller.enqueue(encoder.encode(events.map(logLine).join('')));
      }
    },
  });
}
