import { JobManager } from '../../jobs/manager.ts';
import { parseOrigin } from '../../server/auth.ts';
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

export interface ServeFlags {
  readonly host?: string;
  readonly port?: number;
  readonly token?: string;
  readonly state?: string;
  readonly concurrency: number;
  readonly allowOrigin: readonly string[];
  readonly allowCommands?: true;
}

/** A stop must be over in 5 s; what is not by then is left to the operating system and to the next start. */
const stopWithinMs = 4900;

/** `pgsluice serve`: the daemon, until SIGTERM or SIGINT. */
export async function serve(context: Context, flags: ServeFlags): Promise<number> {
  const { env, output, version } = context;
  const allowedOrigins = flags.allowOrigin.map(parseOrigin);
  if (flags.token !== undefined) process.title = 'pgsluice serve';
  const givenToken = flags.token ?? env.token;
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
      logger,
      role: 'daemon',
      allowCommands: flags.allowCommands === true,
    }),
    () => logger.info('stopped before it was ready'),
  );
  let server: RunningServer | null = null;
  try {
    const token = await resolveToken(givenToken, directory);
    server = await startServer({
      manager,
      token: token.token,
      webDir: webDirectory,
      version,
      logger,
      allowedOrigins,
      allowCommands: flags.allowCommands === true,
      host: flags.host ?? env.host,
      port: flags.port ?? env.port,
    });
    await writeDaemonFile(directory, { url: server.url, token: token.token, pid: process.pid });
    output.out(welcome(server.url, token));
    const weakness = weaknessOf(token.token);
    if (weakness !== null) logger.warn(weakness);
    logger.info({ url: server.url, version }, 'listening');
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
