import { JobManager } from '../../jobs/manager.ts';
import { parseOrigin } from '../../server/auth.ts';
import { parseRanges } from '../../server/client-address.ts';
import { assertDoor, chooseTls, isThisMachine } from '../../server/door.ts';
import { startServer, type RunningServer } from '../../server/server.ts';
import {
  checkToken,
  localDirectory,
  removeDaemonFile,
  resolveToken,
  weaknessOf,
  writeDaemonFile,
  type AgentToken,
} from '../../server/token.ts';
import { announceFirstStart } from '../connect.ts';
import { createLogger, webDirectory, type Context } from '../context.ts';
import { exitCodes } from '../exit.ts';
import { Interrupts } from '../interrupts.ts';
import { type KeepFlags, retentionOf } from '../keep-options.ts';

export interface ServeFlags extends KeepFlags {
  readonly host?: string;
  readonly port?: number;
  readonly token?: string;
  readonly state?: string;
  readonly concurrency: number;
  readonly allowOrigin: readonly string[];
  readonly allowCommands?: true;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly allowClients?: string;
  readonly trustProxy?: string;
  readonly insecure?: true;
}

/** A stop must be over in 5 s; what is not by then is left to the operating system and to the next start. */
const stopWithinMs = 4900;

/** `pgsluice serve`: the daemon, until SIGTERM or SIGINT. */
export async function serve(context: Context, flags: ServeFlags): Promise<number> {
  const { env, output, version } = context;
  const allowedOrigins = flags.allowOrigin.map(parseOrigin);
  if (flags.token !== undefined) process.title = 'pgsluice serve';
  const host = flags.host ?? env.host;
  const tls = chooseTls(flags.tlsCert ?? env.door.tlsCert, flags.tlsKey ?? env.door.tlsKey);
  const clients = {
    allowed: parseRanges(flags.allowClients ?? env.door.allowClients, '--allow-clients'),
    proxies: parseRanges(flags.trustProxy ?? env.door.trustProxy, '--trust-proxy'),
  };
  const door = { host, tls, insecure: flags.insecure === true || env.door.insecure };
  const givenToken = flags.token ?? env.token;
  assertDoor({ ...door, token: givenToken });
  if (givenToken !== null) checkToken(givenToken);
  const state = flags.state ?? env.state;
  const directory = localDirectory(state);
  const logger = createLogger(env, 'info');
  const interrupts = new Interrupts();
  announceFirstStart(context, state);
  // Opening a new state takes seconds; nothing runs yet that would have to be ended in order.
  const manager = await interrupts.before(
    JobManager.open({
      state,
      secretKey: env.secretKey,
      concurrency: flags.concurrency,
      pgBinDir: env.pgBinDir,
      hookSecret: env.hookSecret,
      archiveDir: env.archiveDir,
      logger,
      role: 'daemon',
      retention: retentionOf(flags),
      allowCommands: flags.allowCommands === true,
    }),
    () => logger.info('stopped before it was ready'),
  );
  let server: RunningServer | null = null;
  let reload: (() => void) | null = null;
  try {
    const token = await resolveToken(givenToken, directory);
    assertDoor({ ...door, token: token.token });
    server = await startServer({
      manager,
      token: token.token,
      webDir: webDirectory,
      version,
      logger,
      allowedOrigins,
      allowCommands: flags.allowCommands === true,
      host,
      clients,
      ...(tls === null ? {} : { tls }),
      port: flags.port ?? env.port,
    });
    await writeDaemonFile(directory, { url: server.localUrl, token: token.token, pid: process.pid });
    output.out(welcome(server.url, token));
    const weakness = weaknessOf(token.token);
    if (weakness !== null) logger.warn(weakness);
    logger.info({ url: server.url, version }, 'listening');
    if (tls === null && !isThisMachine(host)) {
      logger.warn('tokens and logs travel unencrypted unless something in front of this agent encrypts them');
    }
    if (tls !== null) {
      const running = server;
      reload = () => running.reloadTls();
      process.on('SIGHUP', reload);
    }
    const signal = await new Promise<string>((resolve) => interrupts.handle(resolve));
    logger.info({ signal }, 'stopping');
    server.stopListening();
  } finally {
    const late = setTimeout(() => {
      logger.error('the stop took too long; the next start goes on from what is stored');
      process.exit(exitCodes.failed);
    }, stopWithinMs);
    late.unref();
    // First the jobs, so that their last events still reach the clients; then the clients.
    await manager.stop('The agent was asked to stop.');
    await server?.close();
    await removeDaemonFile(directory, process.pid);
    if (reload !== null) process.off('SIGHUP', reload);
    clearTimeout(late);
    interrupts.dispose();
  }
  logger.info('stopped');
  return exitCodes.done;
}

/** The address with the token is shown when the token is new, and never again: terminals are recorded and scrolled. */
export function welcome(url: string, token: AgentToken): string {
  switch (token.origin) {
    case 'created':
      return [
        `pgsluice is ready. Open this address; it holds the token of this agent and is shown this once:`,
        `  ${url}/#token=${encodeURIComponent(token.token)}`,
        `The token is kept in ${token.file ?? ''}.`,
        '',
      ].join('\n');
    case 'stored':
      return `pgsluice is ready at ${url}\nThe token to sign in is in ${token.file ?? ''}.\n`;
    case 'given':
      return `pgsluice is ready at ${url}\nSign in with the token that was given to it.\n`;
  }
}
