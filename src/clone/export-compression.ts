import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PgsluiceError } from '../errors.ts';
import { libpqEnvironment, runTool } from '../postgres/tools.ts';
import type { PgTools } from '../postgres/tools.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';

/** pg_dump takes the name of a method from here on (PostgreSQL 16 release notes). */
const NAMED_SINCE = 16;
const GZIP_LEVEL = 6;

export interface Compression {
  /** What pg_dump is given. */
  readonly argument: string;
  /** For the manifest and the log. */
  readonly words: string;
}

/** The argument for a method that this major of pg_dump knows; null for one that it does not. Pure. */
export function compressionOf(asked: string, major: number): Compression | null {
  if (major >= NAMED_SINCE) return { argument: `--compress=${asked}`, words: asked };
  const [method, level] = asked.split(':');
  if (method === 'none') return { argument: '--compress=0', words: asked };
  if (method !== 'gzip') return null;
  return { argument: `--compress=${level ?? GZIP_LEVEL}`, words: asked };
}

export interface CompressionInput {
  readonly tools: PgTools;
  /** As asked for; null leaves the choice. */
  readonly asked: string | null;
  readonly source: ConnectionSettings;
  readonly workDir: string;
  readonly signal: AbortSignal;
}

/** What pg_dump says of a method it was built without, before it connects; null when it would go on. */
async function refusal(input: CompressionInput, compression: Compression): Promise<string | null> {
  const dir = await mkdtemp(join(input.workDir, 'compress-'));
  try {
    // It never comes to a connection: there is no server at this place.
    const env = libpqEnvironment({ ...input.source, host: dir, password: null, sslmode: 'disable' });
    const args = ['--format=directory', compression.argument, `--file=${join(dir, 'probe')}`, '--no-password'];
    await runTool({ command: input.tools.pgDump, args, env, signal: input.signal });
    return null;
  } catch (error) {
    if (!(error instanceof PgsluiceError) || error.code !== 'PG_TOOL_FAILED') throw error;
    return /compress/i.test(error.message.replaceAll(dir, '')) ? error.message : null;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/**
 * zstd where pg_dump has it, since it is quicker and smaller, else gzip; what was asked for where it can be had.
 * @throws PgsluiceError COMPRESSION_UNAVAILABLE.
 */
export async function chooseCompression(input: CompressionInput): Promise<Compression> {
  const { tools, asked } = input;
  for (const method of asked === null ? ['zstd', 'gzip'] : [asked]) {
    const compression = compressionOf(method, tools.major);
    const why =
      compression === null ? `it takes the name of a method from ${NAMED_SINCE} on` : await refusal(input, compression);
    if (compression !== null && why === null) return compression;
    if (asked !== null) {
      throw new PgsluiceError({
        code: 'COMPRESSION_UNAVAILABLE',
        message: `pg_dump ${tools.version} cannot compress with ${asked}: ${why}`,
        hint: `Use --compress gzip, or a newer pg_dump (PGSLUICE_PG_BIN).`,
      });
    }
  }
  return { argument: `--compress=${GZIP_LEVEL}`, words: `gzip:${GZIP_LEVEL}` };
}
