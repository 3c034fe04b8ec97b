import type { HandOver, Hook, JobOptions } from '../contract/options.ts';
import { PgsluiceError } from '../errors.ts';
import type { JobRow } from '../store/job-queries.ts';
import type { SecretBox } from '../store/secrets.ts';

/** Stands for what of an address or an argument list is not shown. */
const HIDDEN = '***';

/** What a job runs and calls, as it was given. */
interface Calls {
  readonly handOver: HandOver | null;
  readonly hooks: readonly Hook[];
}

interface Callee {
  readonly command?: string[] | undefined;
  readonly webhook?: string | undefined;
}

/** The address without user, password, path and query: any of them may be what lets one in. */
function hiddenAddress(address: string): string {
  const { origin, username, password, pathname, search, hash } = new URL(address);
  const bare = username === '' && password === '' && pathname === '/' && search === '' && hash === '';
  return bare ? address : `${origin}/${HIDDEN}`;
}

function hidden<T extends Callee>(callee: T): T {
  const { command, webhook } = callee;
  return {
    ...callee,
    ...(command === undefined ? {} : { command: command.map((word, at) => (at === 0 ? word : HIDDEN)) }),
    ...(webhook === undefined ? {} : { webhook: hiddenAddress(webhook) }),
  };
}

/**
 * The options as anybody may read them, and as they are stored: of hooks and hand-over the program's name and the address's origin
 * only. Of options that are so already it changes nothing. Pure.
 */
export function withoutCalls(options: JobOptions): JobOptions {
  return {
    ...options,
    handOver: options.handOver === null ? null : hidden(options.handOver),
    hooks: options.hooks.map(hidden),
  };
}

function isHidden({ command, webhook }: Callee): boolean {
  return command?.slice(1).includes(HIDDEN) === true || webhook?.endsWith(`/${HIDDEN}`) === true;
}

/** @throws PgsluiceError HOOK_HIDDEN for options that were read off another job, whose hooks nobody is shown. Pure. */
export function assertCallsGiven({ handOver, hooks }: Calls): void {
  if (![...hooks, ...(handOver === null ? [] : [handOver])].some(isHidden)) return;
  throw new PgsluiceError({
    code: 'HOOK_HIDDEN',
    message: 'A hook of this job says *** where its address or its arguments should be, as other jobs show theirs.',
    hint: 'Give the whole address or command again; what another job was given is never shown.',
  });
}

const place = (id: string): string => `${id}:calls`;

/** What is stored beside the options; null where there is nothing to hide. */
export function sealCalls(secrets: Pick<SecretBox, 'seal'>, id: string, { handOver, hooks }: Calls): string | null {
  return handOver === null && hooks.length === 0 ? null : secrets.seal(JSON.stringify({ handOver, hooks }), place(id));
}

/** The job with the options it was given. @throws PgsluiceError SECRET_KEY_WRONG. */
export function withCalls<T extends Pick<JobRow, 'id' | 'options' | 'calls'>>(
  secrets: Pick<SecretBox, 'open'>,
  row: T,
): T {
  if (row.calls === null) return row;
  const { handOver, hooks } = JSON.parse(secrets.open(row.calls, place(row.id))) as Calls;
  return { ...row, options: { ...row.options, handOver, hooks: [...hooks] } };
}
