import { basename } from 'node:path';
import type { StreamMessage } from '../contract/event.ts';
import type { JobView } from '../contract/job.ts';
import { PgsluiceError } from '../errors.ts';
import type { ApiManager } from './api-manager.ts';

/** What stands in a text that whoever follows a share is not shown. */
const hidden = '***';

/** What of a job's log names the agent's surroundings: programs, addresses of hooks, users of the servers, the archive's folder. Pure. */
export function hiddenWords({ options, source, target, archive }: JobView): string[] {
  const callees = [...options.hooks, ...(options.handOver === null ? [] : [options.handOver])];
  const words = callees.flatMap(({ command, webhook }) => [
    ...(command ?? []),
    ...(webhook === undefined ? [] : [webhook, ...placesOf(webhook)]),
  ]);
  const users = [source, target].flatMap((side) => (side === null ? [] : [`${side.user}@`]));
  const folder = archive === null ? [] : [archive.slice(0, -basename(archive).length)];
  // Where the database stands is shown. A short word would take pieces out of others.
  const shown = new Set([hidden, source?.host, target?.host]);
  return [...new Set([...words, ...users, ...folder])]
    .filter((word) => word.length > 2 && !shown.has(word))
    .toSorted((a, b) => b.length - a.length);
}

function placesOf(webhook: string): string[] {
  const { origin, host, hostname } = new URL(webhook);
  return [origin, host, hostname];
}

/** `value` with the words taken out of every text in it. Pure. */
export function withoutWords<T>(value: T, words: readonly string[]): T {
  if (words.length === 0) return value;
  return masked(value, words) as T;
}

function masked(value: unknown, words: readonly string[]): unknown {
  if (typeof value === 'string') return words.reduce((text, word) => text.replaceAll(word, hidden), value);
  if (Array.isArray(value)) return value.map((entry) => masked(entry, words));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, masked(entry, words)]));
}

/** A job as whoever follows a share sees it: how it goes, and where it moves, but not as whom, nor what else the agent does with it. Pure. */
export function sharedView(job: JobView): JobView {
  const side = (endpoint: JobView['source']): JobView['source'] =>
    endpoint === null ? null : { ...endpoint, user: '', hasPassword: false };
  const view = {
    ...job,
    source: side(job.source),
    target: side(job.target),
    archive: job.archive === null ? null : basename(job.archive),
    group: null,
    options: { ...job.options, handOver: null, hooks: [], mapRole: {} },
  };
  return withoutWords(view, hiddenWords(job));
}

const refused = (): Promise<never> =>
  Promise.reject(
    new PgsluiceError({
      code: 'SHARE_SHOWS_ONE_JOB',
      message: 'This link shows one migration, and nothing else.',
      hint: 'Open the link as it was given to you; for more, ask for a token.',
    }),
  );

/** The job manager as shares reach it: reads, and says less. What is not needed for that cannot be called at all. */
export function sharedManager(
  manager: Pick<ApiManager, 'get' | 'tables' | 'checks' | 'logPage' | 'stream' | 'ready' | 'metrics'>,
): ApiManager {
  const wordsOf = async (id: string): Promise<string[]> => hiddenWords(await manager.get(id));
  return {
    get: async (id) => sharedView(await manager.get(id)),
    tables: async (id) => withoutWords(await manager.tables(id), await wordsOf(id)),
    checks: async (id) => withoutWords(await manager.checks(id), await wordsOf(id)),
    logPage: async (id, query) => withoutWords(await manager.logPage(id, query), await wordsOf(id)),
    stream: async function* (id, after, signal): AsyncGenerator<readonly StreamMessage[]> {
      const words = await wordsOf(id);
      for await (const batch of manager.stream(id, after, signal)) yield withoutWords(batch, words);
    },
    metrics: () => manager.metrics(),
    ready: () => manager.ready(),
    create: refused,
    list: refused,
    act: refused,
    activity: refused,
    remove: refused,
    report: refused,
    reportHtml: refused,
    groups: { create: refused, list: refused, get: refused, act: refused, remove: refused },
    single: { run: refused, accept: refused, unaccept: refused },
    access: {
      bearerOf: refused,
      stillHolding: refused,
      createToken: refused,
      tokens: refused,
      revokeToken: refused,
      share: refused,
      shares: refused,
      revokeShare: refused,
      record: refused,
      audit: refused,
    },
  };
}
