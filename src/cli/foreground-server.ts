import type { GroupActionResult } from '../contract/group.ts';
import type { JobAction, JobView } from '../contract/job.ts';
import type { JobOptions } from '../contract/options.ts';
import { PgsluiceError } from '../errors.ts';
import type { ApiManager } from '../server/api-manager.ts';
import { startServer } from '../server/server.ts';
import { localDirectory, removeDaemonFile, resolveToken, writeDaemonFile } from '../server/token.ts';
import { findDaemon } from './connect.ts';
import { createLogger, webDirectory, type Context } from './context.ts';

/** Where a job that runs in this process can be reached from outside, for its time. */
export interface ForegroundServer {
  readonly url: string;
  /** File that holds the token; null when it was given. */
  readonly tokenFile: string | null;
  close(): Promise<void>;
}

/** True for a job that may follow its source for a long time, and then be asked to cut over from another terminal. */
export function mayFollow(options: Pick<JobOptions, 'method' | 'cutover'>): boolean {
  return options.method === 'live' || (options.method === 'auto' && options.cutover !== null);
}

/**
 * Serves API and page for the jobs of one command on 127.0.0.1 at a free port, and leaves address and token in the state directory as
 * the daemon does, so that `pgsluice cutover` and its kin find it with no flag.
 */
export async function serveForeground(
  { env, version }: Context,
  state: string,
  manager: ApiManager,
  own: OwnJobs,
): Promise<ForegroundServer> {
  const directory = localDirectory(state);
  const token = await resolveToken(env.token, directory);
  const server = await startServer({
    manager: onlyOwn(manager, own),
    token: token.token,
    webDir: webDirectory,
    version,
    logger: createLogger(env, 'silent'),
    host: '127.0.0.1',
    port: 0,
  });
  // Agents that share a state in PostgreSQL share this directory: the one that is there keeps its place.
  if ((await findDaemon(state)) === null) {
    await writeDaemonFile(directory, { url: server.url, token: token.token, pid: process.pid, job: own.jobs[0] ?? '' });
  }
  return {
    url: server.url,
    tokenFile: token.file,
    close: async () => {
      await removeDaemonFile(directory, process.pid);
      await server.close();
    },
  };
}

const beginning: ReadonlySet<JobAction> = new Set(['validate', 'start', 'resume', 'retry']);

/** What a foreground command runs. */
export interface OwnJobs {
  readonly jobs: readonly string[];
  /** null: one job of its own. */
  readonly group: string | null;
}

/** This process ends with its jobs, so it must not begin another one for anybody. */
export function onlyOwn(manager: ApiManager, own: OwnJobs): ApiManager {
  const what = own.group === null ? `job ${own.jobs.join(', ')}` : `group ${own.group}`;
  const busy = (): PgsluiceError =>
    new PgsluiceError({
      code: 'FOREGROUND_AGENT',
      message: `The agent that holds this state runs ${what} in the foreground and takes no other work.`,
      hint: 'Wait for its end, or name another directory with --state.',
    });
  return {
    create: () => Promise.reject(busy()),
    act: (id, action): Promise<JobView> =>
      !own.jobs.includes(id) && beginning.has(action) ? Promise.reject(busy()) : manager.act(id, action),
    list: (query) => manager.list(query),
    get: (id) => manager.get(id),
    remove: (id) => manager.remove(id),
    tables: (id) => manager.tables(id),
    activity: (id) => manager.activity(id),
    checks: (id) => manager.checks(id),
    groups: {
      create: () => Promise.reject(busy()),
      act: (id, action): Promise<GroupActionResult> =>
        id !== own.group && beginning.has(action) ? Promise.reject(busy()) : manager.groups.act(id, action),
      list: () => manager.groups.list(),
      get: (id) => manager.groups.get(id),
      remove: (id) => manager.groups.remove(id),
    },
    single: manager.single,
    access: manager.access,
    report: (id) => manager.report(id),
    reportHtml: (id) => manager.reportHtml(id),
    logPage: (id, query) => manager.logPage(id, query),
    stream: (id, after, signal) => manager.stream(id, after, signal),
    metrics: () => manager.metrics(),
    ready: () => manager.ready(),
  };
}
