import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const exec = promisify(execFile);

/** Paths of PEM files. */
export interface Certificates {
  readonly ca: string;
  /** Signed by `ca` for localhost and 127.0.0.1. */
  readonly cert: string;
  readonly key: string;
  /** Signed by `ca` for another host name. */
  readonly otherHost: { readonly cert: string; readonly key: string };
  /** Signed by itself, for localhost and 127.0.0.1. */
  readonly selfSigned: { readonly cert: string; readonly key: string };
  /** A certificate authority that signed none of these. */
  readonly strangerCa: string;
}

const local = 'DNS:localhost,IP:127.0.0.1';

/** Makes a certificate authority and server certificates in `dir` with openssl, valid for two days. */
export async function makeCertificates(dir: string): Promise<Certificates> {
  await mkdir(dir, { recursive: true });
  const authority = await selfSign(dir, 'ca', '/CN=pgsluice test CA', ['-addext', 'basicConstraints=critical,CA:TRUE']);
  const stranger = await selfSign(dir, 'stranger', '/CN=pgsluice stranger CA', [
    '-addext',
    'basicConstraints=critical,CA:TRUE',
  ]);
  return {
    ca: authority.cert,
    ...(await issue(dir, 'server', local, authority)),
    otherHost: await issue(dir, 'other-host', 'DNS:db.example.com', authority),
    selfSigned: await selfSign(dir, 'self-signed', '/CN=localhost', ['-addext', `subjectAltName=${local}`]),
    strangerCa: stranger.cert,
  };
}

interface Pair {
  readonly cert: string;
  readonly key: string;
}

async function selfSign(dir: string, name: string, subject: string, extra: readonly string[]): Promise<Pair> {
  const pair = { cert: join(dir, `${name}.crt`), key: join(dir, `${name}.key`) };
  const rest = ['-subj', subject, '-keyout', pair.key, '-out', pair.cert, ...extra];
  await openssl(`req -x509 ${newKey} -days 2`, rest);
  return pair;
}

async function issue(dir: string, name: string, altName: string, ca: Pair): Promise<Pair> {
  const pair = { cert: join(dir, `${name}.crt`), key: join(dir, `${name}.key`) };
  const request = join(dir, `${name}.csr`);
  const extensions = join(dir, `${name}.ext`);
  await writeFile(extensions, `subjectAltName=${altName}\nextendedKeyUsage=serverAuth\n`);
  await openssl(`req ${newKey}`, ['-subj', `/CN=${name}`, '-keyout', pair.key, '-out', request]);
  const signer = ['-in', request, '-CA', ca.cert, '-CAkey', ca.key, '-extfile', extensions, '-out', pair.cert];
  await openssl('x509 -req -CAcreateserial -days 2', signer);
  return pair;
}

const newKey = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes';

async function openssl(words: string, args: readonly string[]): Promise<void> {
  await exec('openssl', [...words.split(' '), ...args]);
}
