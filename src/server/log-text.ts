import type { JobEvent } from '../contract/event.ts';
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
  read: (query: LogQuery) => Promise<JobEvent[]>,
  query: LogQuery,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder();
  let after = query.after ?? 0;
  let left = query.limit ?? Number.POSITIVE_INFINITY;
  return new ReadableStream({
    async pull(controller) {
      const limit = Math.min(pageSize, left);
      const page = limit > 0 ? await read({ ...query, after, limit }) : [];
      const last = page.at(-1);
      if (last === undefined) {
        controller.close();
        return;
      }
      after = last.seq;
      left -= page.length;
      controller.enqueue(encoder.encode(page.map(logLine).join('')));
    },
  });
}
