import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type TestServer, startServer } from './servers.ts';
import { ordinaryUser } from '../../src/demo/ordinary-user.ts';
import { endTogether } from './proxy.ts';

const exec = promisify(execFile);

/** A hot standby of `primary`, streaming asynchronously over `port` (a proxy's, to cut it off); default: the primary's own. */
export async function startStandby(primary: TestServer, name: string, port = primary.port): Promise<TestServer> {
  const user = await ordinaryUser();
  const base = join(tmpdir(), `pgsluice-test-base-${randomBytes(4).toString('hex')}`);
  try {
    await exec(
      join(primary.binDir, 'pg_basebackup'),
      ['-D', base, '-X', 'stream', '-c', 'fast', '-R', '-h', '127.0.0.1', '-p', String(port), '-U', primary.user],
      {
        cwd: '/',
        env: { PATH: process.env['PATH'] ?? '', PGPASSWORD: primary.password },
        ...(user === null ? {} : { uid: user.uid, gid: user.gid }),
      },
    );
    return await startServer({ name, binDir: primary.binDir, template: base, settings: { wal_level: 'logical' } });
  } finally {
    await rm(base, { recursive: true, force: true });
  }
}

/** One address with another server behind it whenever that is said, as a provider's failover does it. */
export interface Address {
  readonly port: number;
  /** New connections go there; those that are open are reset. */
  pointTo(port: number): void;
  /** Resets what is open and takes nothing until it points somewhere again. */
  close(): Promise<void>;
}

export async function startAddress(first: number): Promise<Address> {
  let target: number = first;
  const sockets = new Set<Socket>();
  const server = createServer((inner) => {
    const outer = connect(target, '127.0.0.1');
    endTogether(inner, outer, sockets);
    inner.pipe(outer);
    outer.pipe(inner);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  const cut = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    port: address.port,
    pointTo: (port) => {
      target = port;
      cut();
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        cut();
      }),
  };
}

/** `url` with the port of another way to the same server. */
export function through(url: string, port: number): string {
  const changed = new URL(url);
  changed.port = String(port);
  return changed.toString();
}
