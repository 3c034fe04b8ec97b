import { existsSync, readFileSync } from 'node:fs';
import { isIP, type Socket, connect as netConnect } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import {
  type ConnectionOptions,
  type TLSSocket,
  checkServerIdentity,
  connect as tlsConnect,
  rootCertificates,
} from 'node:tls';
import { PgsluiceError } from '../errors.ts';
import { anywhere, reach } from '../reach.ts';
import { type ExplainContext, connectionError, explainError, notPostgres } from './explain.ts';
import { assertReachable } from './reachable.ts';
import { type ConnectionSettings, type SslMode, isUnixSocket } from './settings.ts';

/** What to do about TLS in one attempt; sslmode is a list of such attempts. */
export type Encryption = 'never' | 'when-offered' | 'always';

export interface Dialled {
  /** Connected, encrypted when `encrypted`; nothing of the PostgreSQL session has been sent yet. */
  readonly stream: Socket;
  readonly encrypted: boolean;
}

/** The attempts that an sslmode stands for, in order (PostgreSQL documentation, table 34.1). */
const ATTEMPTS: Readonly<Record<SslMode, readonly [Encryption, ...Encryption[]]>> = {
  disable: ['never'],
  allow: ['never', 'always'],
  prefer: ['when-offered', 'never'],
  require: ['always'],
  'verify-ca': ['always'],
  'verify-full': ['always'],
};

/** What to try, in order. Unix sockets never use TLS. */
export function encryptionAttempts(settings: ConnectionSettings): readonly [Encryption, ...Encryption[]] {
  return isUnixSocket(settings.host) ? ['never'] : ATTEMPTS[settings.sslmode];
}

/** Bundles of the operating system's authorities: Debian, Red Hat, SUSE, Alpine and macOS. */
const SYSTEM_BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
] as const;

/** The file of the system's authorities, so that pg_dump's libpq and this process trust the same; null when none is found. */
export function systemBundle(): string | null {
  return SYSTEM_BUNDLES.find((path) => existsSync(path)) ?? null;
}

/** How a server's certificate is judged. */
export type Trust =
  | { readonly verify: false }
  /** `authorities` is a file, or the word `system`. */
  | { readonly verify: true; readonly hostName: boolean; readonly authorities: string };

/**
 * libpq's rules (documentation 34.19.1): `prefer` and `require` only encrypt, but `require` with a root certificate
 * file verifies like verify-ca. Without sslrootcert the file is `~/.postgresql/root.crt`; where that is missing,
 * verify-full takes the system's authorities and verify-ca has nothing to go by (returns null).
 */
export function chooseTrust(settings: ConnectionSettings, homeFile: string | null): Trust | null {
  const { sslmode } = settings;
  const file = settings.sslrootcert ?? homeFile;
  if (sslmode === 'verify-full') return { verify: true, hostName: true, authorities: file ?? 'system' };
  if (file !== null && (sslmode === 'verify-ca' || sslmode === 'require')) {
    return { verify: true, hostName: false, authorities: file };
  }
  return sslmode === 'verify-ca' ? null : { verify: false };
}

export function defaultRootFile(): string | null {
  const file = join(homedir(), '.postgresql', 'root.crt');
  return existsSync(file) ? file : null;
}

function readAuthorities(path: string, context: ExplainContext): string | readonly string[] {
  if (path === 'system') {
    const bundle = systemBundle();
    return bundle === null ? rootCertificates : readFileSync(bundle, 'utf8');
  }
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw connectionError(
      context,
      {
        code: 'TLS_VERIFICATION_FAILED',
        says: `cannot be verified: the file of trusted certificates "${path}" cannot be read.`,
        hint: 'Give a readable PEM file in sslrootcert.',
      },
      cause,
    );
  }
}

function tlsOptions(settings: ConnectionSettings, context: ExplainContext): ConnectionOptions {
  const trust = chooseTrust(settings, defaultRootFile());
  if (trust === null) {
    throw connectionError(context, {
      code: 'TLS_VERIFICATION_FAILED',
      says: 'cannot be verified: sslmode=verify-ca needs the certificate of an authority, and none is given.',
      hint: "Give the authority's file with sslrootcert=/path/to/ca.crt, or use sslmode=verify-full&sslrootcert=system for a public authority.",
    });
  }
  const options: ConnectionOptions = {
    minVersion: 'TLSv1.2',
    // RFC 6066: an IP address is no server name.
    ...(isIP(settings.host) === 0 ? { servername: settings.host } : {}),
    host: settings.host,
  };
  if (!trust.verify) return { ...options, rejectUnauthorized: false };
  const ca = readAuthorities(trust.authorities, context);
  return {
    ...options,
    ca: typeof ca === 'string' ? ca : [...ca],
    rejectUnauthorized: true,
    checkServerIdentity: (_name, certificate) =>
      trust.hostName ? checkServerIdentity(settings.host, certificate) : undefined,
  };
}

/** Waits for one event of a socket; fails on error, on end, and when `signal` fires (with its reason). */
function waitFor<T>(
  socket: Socket,
  signal: AbortSignal,
  event: 'connect' | 'secureConnect' | 'data',
  closed: () => Error,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const done = (): void => {
      socket.off(event, onEvent);
      socket.off('error', onError);
      socket.off('end', onEnd);
      socket.off('close', onEnd);
      signal.removeEventListener('abort', onAbort);
    };
    const onEvent = (value: T): void => {
      if (event === 'data') socket.pause();
      done();
      resolve(value);
    };
    const onError = (error: Error): void => {
      done();
      reject(error);
    };
    const onEnd = (): void => {
      done();
      reject(closed());
    };
    const onAbort = (): void => {
      done();
      reject(signal.reason instanceof Error ? signal.reason : new Error('aborted', { cause: signal.reason }));
    };
    socket.on(event, onEvent);
    socket.on('error', onError);
    socket.on('end', onEnd);
    socket.on('close', onEnd);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);

const TLS_PROTOCOL_CODES = /^(EPROTO|ERR_SSL_|ECONNRESET$)/;

function tlsFailure(error: Error, settings: ConnectionSettings, context: ExplainContext): PgsluiceError {
  if (error instanceof PgsluiceError) return error;
  const code: unknown = Reflect.get(error, 'code');
  const name = typeof code === 'string' ? code : '';
  if (TLS_PROTOCOL_CODES.test(name)) {
    return connectionError(
      context,
      {
        code: 'TLS_FAILED',
        says: `and this machine could not agree on TLS: ${error.message}.`,
        hint: 'Check that the server speaks TLS 1.2 or newer (ssl_min_protocol_version) and that no proxy cuts the connection.',
      },
      error,
    );
  }
  const hostName = name === 'ERR_TLS_CERT_ALTNAME_INVALID';
  return connectionError(
    context,
    {
      code: 'TLS_VERIFICATION_FAILED',
      says: hostName
        ? `shows a certificate that was made out to another name than "${settings.host}".`
        : `shows a certificate that cannot be verified: ${error.message} (${name}).`,
      hint: hostName
        ? 'Use the host name that the certificate names, or sslmode=verify-ca if any server of that authority is good enough.'
        : "Give the authority's certificate with sslrootcert=/path/to/ca.crt, or choose sslmode=require to encrypt without verifying.",
    },
    error,
  );
}

/**
 * An error of the socket that comes after the one that is being thrown, still before anybody listens again, would end the process:
 * Node emits the error of a TLS handshake that the server ended right after that end.
 */
function keepQuiet(socket: Socket): void {
  socket.on('error', () => undefined);
}

async function upgrade(
  raw: Socket,
  settings: ConnectionSettings,
  signal: AbortSignal,
  context: ExplainContext,
): Promise<TLSSocket> {
  const secure = tlsConnect({ ...tlsOptions(settings, context), socket: raw });
  keepQuiet(secure);
  try {
    await waitFor<undefined>(secure, signal, 'secureConnect', () =>
      connectionError(context, notPostgres('it closed the connection in the middle of the TLS handshake.', true)),
    );
    return secure;
  } catch (error) {
    secure.destroy();
    throw signal.aborted || !(error instanceof Error) ? error : tlsFailure(error, settings, context);
  }
}

/**
 * Opens one socket to the server, up to and including TLS (protocol 55.2.11). The caller owns the stream.
 * Throws PgsluiceError, among them HOST_NOT_ALLOWED (reach.ts), or the reason of `signal` when that fires.
 */
export async function dial(
  settings: ConnectionSettings,
  encryption: Encryption,
  signal: AbortSignal,
  context: ExplainContext,
): Promise<Dialled> {
  const unix = isUnixSocket(settings.host);
  const limits = settings.own === true ? anywhere : reach();
  assertReachable(settings, limits);
  const raw = unix
    ? netConnect({ path: `${settings.host.replace(/^@/, '\0').replace(/\/+$/, '')}/.s.PGSQL.${settings.port}` })
    : netConnect({
        host: settings.host,
        port: settings.port,
        lookup: limits.lookupFor(settings.port),
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: 30_000,
        // Node's 250 ms for each address of a name is less than one round trip around the world.
        autoSelectFamilyAttemptTimeout: 1500,
      });
  keepQuiet(raw);
  try {
    await waitFor<undefined>(raw, signal, 'connect', () => new Error('Connection terminated'));
    // What counts is who answers, however it came to that.
    if (!unix && limits.restricted) limits.assertAddress(settings.host, raw.remoteAddress ?? '', settings.port);
    if (encryption === 'never') return { stream: raw, encrypted: false };
    raw.write(SSL_REQUEST);
    const answer = await waitFor<Buffer>(raw, signal, 'data', () =>
      connectionError(context, notPostgres('it closed the connection at once.', true)),
    );
    // More bytes than one before TLS begins are either another protocol or an attack (CVE-2021-23222).
    if (answer.length !== 1 && answer[0] !== 0x45)
      throw connectionError(context, notPostgres('its first bytes belong to another protocol.'));
    switch (answer.readUInt8(0)) {
      case 0x53: // S
        return { stream: await upgrade(raw, settings, signal, context), encrypted: true };
      case 0x4e: // N
        if (encryption === 'when-offered') return { stream: raw, encrypted: false };
        throw connectionError(context, {
          code: 'TLS_REFUSED',
          says: 'does not offer TLS.',
          hint: 'Switch TLS on at that server (ssl = on, with a certificate), or use sslmode=prefer or disable if the network between is trusted.',
        });
      case 0x45: // E: the server could not even start a session
        throw connectionError(context, {
          code: 'SERVER_ERROR',
          says: `cannot start a session: ${answer
            .toString('utf8', 1)
            .replace(/[^\x20-\x7e]+/g, ' ')
            .trim()}`,
          hint: 'The server is short of processes or memory; read its log and try again.',
          retryable: true,
        });
      default:
        throw connectionError(context, notPostgres('its first bytes belong to another protocol.'));
    }
  } catch (error) {
    raw.destroy();
    if (signal.aborted) throw error;
    throw resetBeforeAnswer(error)
      ? connectionError(context, notPostgres('it cut the connection at once.', true), error)
      : explainError(error, context);
  }
}

function resetBeforeAnswer(error: unknown): boolean {
  return error instanceof Error && Reflect.get(error, 'code') === 'ECONNRESET';
}
