import type { IncomingMessage } from 'node:http';
import { PgsluiceError } from '../errors.ts';
import { canonicalAddress, IpRanges } from '../ip-range.ts';

export interface ClientRules {
  /** Who may connect; null: everybody. */
  readonly allowed: IpRanges | null;
  /** Proxies whose X-Forwarded-For is believed; null: none. */
  readonly proxies: IpRanges | null;
}

export const everybody: ClientRules = { allowed: null, proxies: null };

/** Reads `10.0.0.0/8,::1`; null for an empty text. @throws PgsluiceError INVALID_RANGE. */
export function parseRanges(text: string | null, name: string): IpRanges | null {
  const ranges = (text ?? '').split(',').map((part) => part.trim());
  const given = ranges.filter((part) => part !== '');
  if (given.length === 0) return null;
  try {
    return new IpRanges(given);
  } catch (cause) {
    throw new PgsluiceError({
      code: 'INVALID_RANGE',
      message: `${name}: ${cause instanceof Error ? cause.message : 'it cannot be read'}.`,
      hint: 'Write addresses and ranges between commas, for instance 10.0.0.0/8,192.0.2.7,2001:db8::/32.',
      cause,
    });
  }
}

/** `192.0.2.7`, `192.0.2.7:5000`, `[2001:db8::1]:5000` → the address. */
function withoutPort(entry: string): string | null {
  const text = entry.trim();
  return canonicalAddress(text) ?? canonicalAddress(text.replace(/:\d{1,5}$/, ''));
}

/**
 * Who is at the other end: the peer of the connection, unless that is a proxy that is believed; then the last address before it that is
 * none itself. What a client writes into the header stands to the left of what a proxy adds, so it is never reached. Pure.
 */
export function clientAddress(
  peer: string | undefined,
  forwardedFor: string | undefined,
  proxies: IpRanges | null,
): string {
  let client = canonicalAddress(peer ?? '') ?? '';
  if (proxies === null) return client;
  const entries = (forwardedFor ?? '').split(',').toReversed();
  for (const entry of entries) {
    if (!proxies.has(client)) return client;
    const before = withoutPort(entry);
    if (before === null) return client;
    client = before;
  }
  return client;
}

export function addressOf({ headers, socket }: IncomingMessage, { proxies }: ClientRules): string {
  const forwarded = headers['x-forwarded-for'];
  return clientAddress(socket.remoteAddress, Array.isArray(forwarded) ? forwarded.join(',') : forwarded, proxies);
}

/** @throws PgsluiceError CLIENT_NOT_ALLOWED. */
export function assertClient(address: string, { allowed }: ClientRules): void {
  if (allowed === null || allowed.has(address)) return;
  throw new PgsluiceError({
    code: 'CLIENT_NOT_ALLOWED',
    message: `This agent takes no requests from ${address === '' ? 'an unknown address' : address}.`,
    hint: 'Ask from another network, or start the agent with this address in --allow-clients; behind a proxy name that in --trust-proxy.',
  });
}
