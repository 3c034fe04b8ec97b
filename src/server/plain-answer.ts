import type { ProblemBody } from './problem.ts';

const reasons: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  408: 'Request Timeout',
  413: 'Content Too Large',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  503: 'Service Unavailable',
};

/** A whole answer of HTTP/1.1, for where no framework speaks: upgrades, and what cannot be read. It ends its connection. */
export function plainAnswer(
  body: ProblemBody,
  headers: Readonly<Record<string, string>>,
  retryAfterSeconds: number | null = null,
): string {
  const text = JSON.stringify(body);
  const lines = [
    `HTTP/1.1 ${body.status} ${reasons[body.status] ?? 'Error'}`,
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(text)}`,
    'cache-control: no-store',
    'connection: close',
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ...(body.status === 401 ? ['www-authenticate: Bearer realm="pgsluice"'] : []),
    ...(retryAfterSeconds === null ? [] : [`retry-after: ${retryAfterSeconds}`]),
  ];
  return `${lines.join('\r\n')}\r\n\r\n${text}`;
}
