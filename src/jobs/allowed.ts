import { lstat, readdir, realpath } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative } from 'node:path';
import type { JobOptions } from '../contract/options.ts';
import { PgsluiceError } from '../errors.ts';
import { assertReachable } from '../postgres/reachable.ts';
import { reach } from '../reach.ts';
import type { NewJobRow } from '../store/job-queries.ts';
import type { SecretBox } from '../store/secrets.ts';
import { openSides } from './job-view.ts';

/** Says of webhooks what can be said before they are called. @throws PgsluiceError HOST_NOT_ALLOWED. */
export function assertWebhooksReachable({ handOver, hooks }: Pick<JobOptions, 'handOver' | 'hooks'>): void {
  for (const webhook of [handOver?.webhook, ...hooks.map((hook) => hook.webhook)]) {
    if (webhook === undefined) continue;
    const url = new URL(webhook);
    const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
    reach().assertNamed(url.hostname.replace(/^\[(.*)\]$/, '$1'), port);
  }
}

/**
 * Refuses servers, files and folders that are not a job's business on this agent, when the job is made and before each run.
 * @throws PgsluiceError HOST_NOT_ALLOWED, LOCAL_FILE_NOT_ALLOWED, ARCHIVE_NOT_ALLOWED, ARCHIVE_DIR_MISSING.
 */
export async function assertPlaces(
  secrets: SecretBox,
  { id, source, target, archive }: Pick<NewJobRow, 'id' | 'source' | 'target' | 'archive'>,
  archiveDir: string | null = null,
): Promise<void> {
  const sides = openSides(secrets, { id, source: source ?? null, target: target ?? null });
  for (const settings of [sides.source, sides.target]) if (settings !== null) assertReachable(settings);
  if (archive != null) await assertArchive(archive, archiveDir);
}

function notAllowed(why: string, hint: string): PgsluiceError {
  return new PgsluiceError({ code: 'ARCHIVE_NOT_ALLOWED', message: `The archive's path is refused: ${why}.`, hint });
}

/** `path` with every link on its way followed, also where its end does not exist yet. @throws PgsluiceError ARCHIVE_NOT_ALLOWED. */
async function resolved(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (!(error instanceof Error) || Reflect.get(error, 'code') !== 'ENOENT') {
      throw notAllowed('it cannot be followed to its end', 'Name a folder that this agent can read.');
    }
  }
  const dangling = await lstat(path).then(
    () => true,
    () => false,
  );
  if (dangling) throw notAllowed('it is a link that leads nowhere', 'Name a folder, not a link.');
  return join(await resolved(dirname(path)), basename(path));
}

/**
 * @param archiveDir PGSLUICE_ARCHIVE_DIR; null: any folder, unless the agent is a shared one, which then takes none.
 * @throws PgsluiceError ARCHIVE_NOT_ALLOWED, ARCHIVE_DIR_MISSING.
 */
export async function assertArchive(path: string, archiveDir: string | null): Promise<void> {
  if (archiveDir === null) {
    if (!reach().restricted) return;
    throw notAllowed(
      'this agent is shared, and no folder was set apart for archives',
      'Ask whoever runs the agent to set PGSLUICE_ARCHIVE_DIR to a folder for them.',
    );
  }
  let root: string;
  try {
    root = await realpath(archiveDir);
  } catch (cause) {
    throw new PgsluiceError({
      code: 'ARCHIVE_DIR_MISSING',
      message: 'The folder in PGSLUICE_ARCHIVE_DIR cannot be used on the machine of this agent.',
      hint: 'Make it, readable and writable by the user that runs the agent, and try again.',
      cause,
    });
  }
  const real = await resolved(path);
  const inside = relative(root, real);
  if (inside === '' || isAbsolute(inside) || inside.split('/')[0] === '..') {
    throw notAllowed('it leads out of the folder for archives', `Name a place below ${archiveDir}.`);
  }
  // A file, or nothing yet, has no entries.
  const entries = await readdir(real, { withFileTypes: true }).catch(() => []);
  if (entries.some((entry) => entry.isSymbolicLink())) {
    throw notAllowed('the archive holds links to other files', 'Put the files themselves into it.');
  }
}
