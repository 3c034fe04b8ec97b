import type { JobEventBody } from '../contract/event.ts';

/** A server may say anything in a notice or an error; a log line is held many times, so it has an end. */
export const longestMessage = 64_000;

/**
 * An event's body as it is stored and announced: both are made from the same JSON, so that a reader sees the same thing live and later.
 * jsonb holds neither U+0000 nor half a surrogate pair (PostgreSQL documentation, 8.14): they become U+FFFD.
 */
export function toStoredBody(body: JobEventBody): { body: JobEventBody; json: string } {
  const json = JSON.stringify(
    body.type === 'log' ? { ...body, message: shorten(hideUrlPasswords(body.message)) } : body,
  );
  if (!/\\u(?:0000|d[89a-f])/i.test(json)) return { body: JSON.parse(json) as JobEventBody, json };
  const clean: unknown = JSON.parse(json, (_key, value: unknown) =>
    typeof value === 'string' ? value.replaceAll('\u0000', '\uFFFD').replace(/\p{Surrogate}/gu, '\uFFFD') : value,
  );
  return { body: clean as JobEventBody, json: JSON.stringify(clean) };
}

function shorten(message: string): string {
  if (message.length <= longestMessage) return message;
  return `${message.slice(0, longestMessage)}… (${message.length - longestMessage} more characters)`;
}

/** Last line of defence: a tool's message that quotes a connection URL shows it without its password. */
export function hideUrlPasswords(text: string): string {
  return text.replace(/\b([a-z][a-z+]{0,30}:\/\/[^\s:/@]+):[^\s@/]+@/gi, '$1:***@');
}
