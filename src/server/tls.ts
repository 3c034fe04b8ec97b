import { readFileSync, statSync, unwatchFile, watchFile } from 'node:fs';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { PgsluiceError } from '../errors.ts';

export interface TlsFiles {
  /** PEM; the chain, the server's own certificate first. */
  readonly cert: string;
  readonly key: string;
}

/** How often the files are looked at, in ms: renewals come in months. */
const lookEveryMs = 5_000;

/** @throws PgsluiceError TLS_FILES_UNUSABLE. */
export function readTls({ cert, key }: TlsFiles): SecureContextOptions {
  try {
    const context = { cert: readFileSync(cert), key: readFileSync(key), minVersion: 'TLSv1.2' as const };
    // Says at once whether they belong together.
    createSecureContext(context);
    return context;
  } catch (cause) {
    throw new PgsluiceError({
      code: 'TLS_FILES_UNUSABLE',
      message: `The certificate ${cert} with the key ${key} cannot be used: ${cause instanceof Error ? cause.message : String(cause)}.`,
      hint: 'Give PEM files that this user can read and that belong together: --tls-cert CHAIN.pem --tls-key KEY.pem',
      cause,
    });
  }
}

/** Calls `changed` after one of the files has, also where it was replaced through a link. @returns what ends the watching. */
export function watchTls({ cert, key }: TlsFiles, changed: () => void): () => void {
  const stamp = (): string => [cert, key].map((file) => stampOf(file)).join();
  let last = stamp();
  const look = (): void => {
    const now = stamp();
    if (now === last) return;
    last = now;
    changed();
  };
  for (const file of [cert, key]) watchFile(file, { interval: lookEveryMs, persistent: false }, look);
  return () => {
    for (const file of [cert, key]) unwatchFile(file, look);
  };
}

function stampOf(file: string): string {
  const found = statSync(file, { throwIfNoEntry: false });
  return found === undefined ? '' : `${found.ino}:${found.mtimeMs}:${found.size}`;
}
