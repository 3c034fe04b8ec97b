import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { PgsluiceError } from '../errors.ts';
import { isPostgresUrl, localDirectory, readDaemonFile } from '../server/token.ts';
import type { JobClient } from './client.ts';
import { createLogger, type Context } from './context.ts';
import { emptyResult } from './exit.ts';
import type { Interrupts } from './interrupts.ts';
import { LocalClient } from './local-client.ts';
import { RemoteClient } from './remote-client.ts';

export interface ConnectFlags {
  readonly server?: string;
  readonly token?: string;
  readonly state?: string;
}

const probeTimeoutMs = 2000;

/** What a command wants: to act on what is there, or to begin something that a foreground command would not take. */
export type Purpose = 'existing jobs' | 'new work';

/** The daemon named by flags, else the one that holds the state, else the state itself, in this process. */
export async function connect(
  context: Context,
  flags: ConnectFlags,
  purpose: Purpose = 'existing jobs',
  concurrency = 1,
): Promise<JobClient> {
  if (flags.server !== undefined) return connectTo(flags.server, flags.token ?? context.env.token);
  const state = flags.state ?? context.env.state;
  return (await findDaemon(state, purpose)) ?? openLocal(context, state, concurrency);
}

/** The same for a command that then watches a job; a signal meanwhile ends it in its own way. */
export function connectWatching(
  context: Context,
  flags: ConnectFlags & { json?: true },
  interrupts: Interrupts,
  purpose: Purpose = 'existing jobs',
  concurrency = 1,
): Promise<JobClient> {
  return interrupts.before(connect(context, flags, purpose, concurrency), () => {
    const error = { code: 'CANCELLED', message: 'Cancelled before anything was done.', hint: 'Run the command again.' };
    if (flags.json) context.output.out(`${JSON.stringify(emptyResult('cancelled', error))}\n`);
    else context.output.err(`${error.message}\n`);
  });
}

function connectTo(server: string, token: string | null): RemoteClient {
  if (!URL.canParse(server) || !/^https?:$/.test(new URL(server).protocol)) {
    throw new PgsluiceError({
      code: 'INVALID_SERVER',
      message: `"${server}" is not the address of an agent.`,
      hint: 'Write it like http://127.0.0.1:7432.',
    });
  }
  if (token === null) {
    throw new PgsluiceError({
      code: 'UNAUTHORIZED',
      message: 'A token is needed to talk to that agent.',
      hint: 'Give it with --token or PGSLUICE_TOKEN; the agent keeps it in the file "token" of its state directory.',
    });
  }
  return new RemoteClient(new URL(server).origin, token);
}

/**
 * The daemon that left its address in the state's directory, when it still answers there. New work passes a foreground
 * command by where the state is shared; a directory has one holder, which then says why it takes no more.
 */
export async function findDaemon(state: string, purpose: Purpose = 'existing jobs'): Promise<RemoteClient | null> {
  const daemon = await readDaemonFile(localDirectory(state));
  if (daemon === null || !(await answers(daemon.url))) return null;
  if (daemon.job !== undefined && purpose === 'new work' && isPostgresUrl(state)) return null;
  return new RemoteClient(daemon.url, daemon.token);
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(new URL('/healthz', url), { signal: AbortSignal.timeout(probeTimeoutMs) });
    return response.ok;
  } catch {
    // A daemon that was killed leaves its file behind.
    return false;
  }
}

/** Making the embedded store takes seconds once; silence would look like a hang. */
export function announceFirstStart({ output }: Context, state: string): void {
  if (isPostgresUrl(state) || existsSync(join(state, 'db'))) return;
  output.err(`Preparing ${state} for the first time; this takes a few seconds.\n`);
}

/** `concurrency`: jobs of this process that run at once. */
export function openLocal(context: Context, state: string, concurrency = 1): Promise<LocalClient> {
  announceFirstStart(context, state);
  return LocalClient.open({
    state,
    secretKey: context.env.secretKey,
    concurrency,
    pgBinDir: context.env.pgBinDir,
    hookSecret: context.env.hookSecret,
    archiveDir: context.env.archiveDir,
    logger: createLogger(context.env, 'silent'),
    role: 'foreground',
    // Whoever runs this command line could run the command as well.
    allowCommands: true,
  });
}
