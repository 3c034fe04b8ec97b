import { createHash, randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from '@hono/zod-openapi';
import { PgsluiceError } from '../errors.ts';
import { errnoOf } from './errno.ts';

/** What a daemon leaves for commands on the same machine; the file is readable by its user alone. */
export const DaemonFile = z.object({
  url: z.string(),
  token: z.string(),
  pid: z.number().int(),
  /** Set by a foreground command: it serves this job alone, and ends with it. */
  job: z.string().optional(),
});
export type DaemonFile = z.infer<typeof DaemonFile>;

export const defaultStateDirectory = (): string => join(homedir(), '.pgsluice');

export function isPostgresUrl(state: string): boolean {
  return /^(postgres|postgresql|ecto):\/\//i.test(state);
}

/**
 * Where the token and daemon.json of a state stand. A state in PostgreSQL has no directory of its own: it gets one
 * under the default directory, named after server and database without the password.
 */
export function localDirectory(state: string): string {
  if (!isPostgresUrl(state)) return state;
  const name = createHash('sha256')
    .update(state.replace(/:[^:@/]*@/, '@'))
    .digest('hex')
    .slice(0, 16);
  return join(defaultStateDirectory(), 'agents', name);
}

export interface AgentToken {
  readonly token: string;
  /** `created`: shown to the person now, and never again. */
  readonly origin: 'given' | 'created' | 'stored';
  /** Where it is kept; null when it was given. */
  readonly file: string | null;
}

/** The agent's token (throws PgsluiceError INVALID_TOKEN): the given one, the one kept from an earlier start, or a new one (256 bits). */
export async function resolveToken(given: string | null, directory: string): Promise<AgentToken> {
  if (given !== null) return { token: checkToken(given), origin: 'given', file: null };
  const file = join(directory, 'token');
  const stored = await readIfThere(file);
  if (stored !== null && stored.trim() !== '') return { token: stored.trim(), origin: 'stored', file };
  const token = randomBytes(32).toString('base64url');
  await writePrivate(directory, 'token', `${token}\n`);
  return { token, origin: 'created', file };
}

/** A token travels in an HTTP header (RFC 6750, section 2.1); throws PgsluiceError INVALID_TOKEN when it cannot. */
export function checkToken(token: string): string {
  if (/^[A-Za-z0-9\-._~+/]+=*$/.test(token)) return token;
  throw new PgsluiceError({
    code: 'INVALID_TOKEN',
    message: 'The token holds characters that no HTTP header may carry.',
    hint: 'Use letters, digits and - . _ ~ + / only, for instance the output of: openssl rand -hex 32',
  });
}

/** Shorter ones can be guessed by whoever reaches the port. */
const shortestToken = 16;

/** The sentence to warn with, or null when the token is long enough. */
export function weaknessOf(token: string): string | null {
  return token.length >= shortestToken
    ? null
    : `the token has ${token.length} ${token.length === 1 ? 'character' : 'characters'} and can be guessed; use the output of: openssl rand -hex 32`;
}

export async function writeDaemonFile(directory: string, content: DaemonFile): Promise<void> {
  await writePrivate(directory, 'daemon.json', `${JSON.stringify(content)}\n`);
}

/** Removes daemon.json unless another process has replaced it since. */
export async function removeDaemonFile(directory: string, pid: number): Promise<void> {
  const current = await readDaemonFile(directory);
  if (current?.pid === pid) await rm(join(directory, 'daemon.json'), { force: true });
}

/** What a daemon left, or null: no file, or one that is not ours to understand. */
export async function readDaemonFile(directory: string): Promise<DaemonFile | null> {
  const text = await readIfThere(join(directory, 'daemon.json'));
  if (text === null) return null;
  try {
    return DaemonFile.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    // A file cut short by a full disk says nothing about a daemon.
    return null;
  }
}

async function readIfThere(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw new PgsluiceError({
      code: 'STATE_DIRECTORY_UNUSABLE',
      message: `${file} cannot be read: ${error instanceof Error ? error.message : String(error)}.`,
      hint: 'Run it as the user that owns the state directory, or name a directory of yours with --state or PGSLUICE_STATE.',
      cause: error,
    });
  }
}

/** A reader sees the old content or the new one, never a part, and nobody but the user sees either. */
async function writePrivate(directory: string, name: string, content: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const temporary = join(directory, `.${name}.${process.pid}`);
  await writeFile(temporary, content, { mode: 0o600 });
  await chmod(temporary, 0o600);
  await rename(temporary, join(directory, name));
}
