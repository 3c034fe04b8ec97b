import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { ManifestFile } from '../contract/manifest.ts';
import type { PauseGate } from '../gate.ts';
import { runTool, toolEnvironment } from '../postgres/tools.ts';
import type { PgTools } from '../postgres/tools.ts';
import { listFiles } from './export-place.ts';
import { PrintedData } from './printed-data.ts';

export interface ReadingInput {
  /** The archive's directory. */
  readonly dir: string;
  readonly tools: PgTools;
  readonly workDir: string;
  readonly signal: AbortSignal;
  readonly gate: PauseGate;
}

/** The entries that set sequences, and with `largeObjects` those that fill them, as lines for `--use-list`. Pure. */
export function listedEntries(list: string, largeObjects: boolean): string {
  const wanted = largeObjects ? /^\d+; \d+ \d+ (SEQUENCE SET|BLOBS) / : /^\d+; \d+ \d+ SEQUENCE SET /;
  return list
    .split('\n')
    .filter((line) => wanted.test(line))
    .join('\n');
}

/** What pg_restore is to print: all data, all but the rows of tables, or no more than what sequences are set to. */
export type Reading = 'all' | 'all but tables' | 'sequences';

/**
 * Has pg_restore print the archive's data, which reads every byte of it, or a part of it.
 * @throws PgsluiceError PG_TOOL_FAILED with pg_restore's words where it cannot be read.
 */
export async function readData(input: ReadingInput, what: Reading): Promise<PrintedData> {
  const printed = new PrintedData();
  const env = toolEnvironment();
  const command = input.tools.pgRestore;
  const listFile = join(input.workDir, 'sequences.list');
  try {
    const args: string[] = [];
    if (what !== 'all') {
      const { stdout } = await runTool({ command, args: ['--list', input.dir], env, signal: input.signal });
      const entries = listedEntries(stdout, what === 'all but tables');
      if (entries === '') return printed;
      await writeFile(listFile, `${entries}\n`, { mode: 0o600 });
      args.push(`--use-list=${listFile}`);
    }
    await runTool({
      command,
      args: ['--section=data', ...args, '--file=-', input.dir],
      env,
      signal: input.signal,
      onStdout: (chunk) => printed.feed(chunk),
    });
    printed.end();
    return printed;
  } finally {
    await rm(listFile, { force: true });
  }
}

/** Size and SHA-256 of every file, as they are on disk; `known`: of those that were read already. */
export async function hashFiles(
  { dir, signal, gate }: Pick<ReadingInput, 'dir' | 'signal' | 'gate'>,
  known: ReadonlyMap<string, ManifestFile>,
): Promise<ManifestFile[]> {
  const files: ManifestFile[] = [];
  for (const path of await listFiles(dir)) {
    const before = known.get(path);
    if (before !== undefined && before.bytes === (await stat(join(dir, path))).size) {
      files.push({ path, bytes: before.bytes, sha256: before.sha256 });
      continue;
    }
    await gate.wait(signal);
    const hash = createHash('sha256');
    await pipeline(createReadStream(join(dir, path), { highWaterMark: 1024 * 1024 }), hash, { signal });
    const { size } = await stat(join(dir, path));
    files.push({ path, bytes: size, sha256: hash.digest('hex') });
  }
  return files;
}
