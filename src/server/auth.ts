import { createHash, timingSafeEqual } from 'node:crypto';
import { PgsluiceError } from '../errors.ts';

/** The subprotocol our page asks for; the token travels beside it, because a browser cannot set a header on a WebSocket. */
export const socketProtocol = 'pgsluice';
const bearerProtocolPrefix = 'bearer.';

const digest = (text: string): Buffer => createHash('sha256').update(text, 'utf8').digest();

/** Compares in constant time whatever the lengths. */
export function sameToken(given: string, expected: string): boolean {
  return timingSafeEqual(digest(given), digest(expected));
}

/** The token of an `Authorization: Bearer …` header, or null (RFC 6750, section 2.1). */
export function bearerToken(header: string | null | undefined): string | null {
  const match = /^Bearer +([^\s]+) *$/i.exec(header ?? '');
  return match?.[1] ?? null;
}

export function parseProtocols(header: string | null | undefined): string[] {
  return (header ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/** The token in `Sec-WebSocket-Protocol: pgsluice, bearer.<base64url of the token>`, or null. */
export function protocolToken(header: string | null | undefined): string | null {
  const offered = parseProtocols(header).find((part) => part.startsWith(bearerProtocolPrefix));
  if (offered === undefined) return null;
  const encoded = offered.slice(bearerProtocolPrefix.length);
  return /^[A-Za-z0-9_-]+$/.test(encoded) ? Buffer.from(encoded, 'base64url').toString('utf8') : null;
}

export interface RequestOrigin {
  /** `Origin` header; absent for clients that are no browser. */
  readonly origin: string | null | undefined;
  /** `Host` header. */
  readonly host: string | null | undefined;
}

/**
 * A browser page may act on the agent only when the agent itself served it, or its origin was allowed by name. Clients
 * without an Origin header are no browsers: the token alone decides about them.
 */
export function originAllowed(request: RequestOrigin, allowed: readonly string[]): boolean {
  const { origin, host } = request;
  if (origin === null || origin === undefined) return true;
  if (allowed.includes(origin)) return true;
  if (host === null || host === undefined || !URL.canParse(origin)) return false;
  const page = new URL(origin);
  if (page.protocol !== 'http:' && page.protocol !== 'https:') return false;
  // Parsing both drops the default port in the same way; a proxy that ends TLS keeps the name but not the scheme.
  const own = `${page.protocol}//${host}`;
  return URL.canParse(own) && new URL(own).host === page.host;
}

/** `https://ops.example.com/` → `https://ops.example.com`; throws PgsluiceError INVALID_ORIGIN. */
export function parseOrigin(text: string): string {
  if (URL.canParse(text)) {
    const url = new URL(text);
    if ((url.protocol === 'http:' || url.protocol === 'https:') && url.pathname === '/' && url.search === '') {
      return url.origin;
    }
  }
  throw new PgsluiceError({
    code: 'INVALID_ORIGIN',
    message: `"${text}" is not the origin of a page.`,
    hint: 'Write scheme, host and port only, for instance https://ops.example.com or http://localhost:5173.',
  });
}

export function unauthorizedError(): PgsluiceError {
  return new PgsluiceError({
    code: 'UNAUTHORIZED',
    message: 'The request carries no valid token.',
    hint: 'Send "Authorization: Bearer TOKEN". The agent printed the token at its first start and keeps it in the file "token" of its state directory.',
  });
}

export function originError(origin: string): PgsluiceError {
  return new PgsluiceError({
    code: 'ORIGIN_NOT_ALLOWED',
    message: `A page from ${origin} may not use this agent.`,
    hint: `Open the page that the agent itself serves, or start the agent with --allow-origin ${origin}.`,
  });
}
