import { PgsluiceError } from '../errors.ts';
import { canonicalAddress, IpRanges } from '../ip-range.ts';
import type { TlsFiles } from './tls.ts';
import { weaknessOf } from './token.ts';

const loopback = new IpRanges(['127.0.0.0/8', '::1']);

/** True for an address to listen on that only this machine reaches. */
export function isThisMachine(host: string): boolean {
  return host.toLowerCase() === 'localhost' || (canonicalAddress(host) !== null && loopback.has(host));
}

/** @throws PgsluiceError INVALID_TLS where one of the two is missing. */
export function chooseTls(cert: string | null, key: string | null): TlsFiles | null {
  if (cert === null && key === null) return null;
  if (cert !== null && key !== null) return { cert, key };
  throw new PgsluiceError({
    code: 'INVALID_TLS',
    message: `A certificate needs its key, and only --tls-${cert === null ? 'key' : 'cert'} was given.`,
    hint: 'Give both: --tls-cert CHAIN.pem --tls-key KEY.pem',
  });
}

/**
 * Whoever reaches the agent and has its token can read and write both databases of every job. `token` null: one is made, which is long.
 * @throws PgsluiceError TOKEN_TOO_SHORT, INSECURE_DOOR.
 */
export function assertDoor(door: {
  readonly host: string;
  readonly token: string | null;
  readonly tls: TlsFiles | null;
  readonly insecure: boolean;
}): void {
  const { host, token, tls, insecure } = door;
  if (isThisMachine(host)) return;
  const weakness = token === null ? null : weaknessOf(token);
  if (weakness !== null) {
    throw new PgsluiceError({
      code: 'TOKEN_TOO_SHORT',
      message: `The agent is not opened to the network of ${host}: ${weakness.replace(/;.*$/, '')}.`,
      hint: 'Set PGSLUICE_TOKEN to the output of: openssl rand -hex 32; or listen on 127.0.0.1 only.',
    });
  }
  if (tls !== null || insecure) return;
  throw new PgsluiceError({
    code: 'INSECURE_DOOR',
    message: `The agent is not opened to the network of ${host} without TLS: its token and the passwords of jobs would be readable there.`,
    hint: 'Give a certificate with --tls-cert and --tls-key; or say --insecure where a proxy or a tunnel in front of it encrypts.',
  });
}
