import { setTimeout as sleep } from 'node:timers/promises';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { isTransient } from '../postgres/explain.ts';
import type { Session } from '../postgres/session.ts';
import type { TargetContext } from './context.ts';
import { log } from './context.ts';
import { RETRY_AFTER_MS } from './copy-data.ts';
import { openData } from './import-archive-data.ts';
import type { SessionPool } from './session-pool.ts';

/** Bytes of statements in one round trip. */
const BATCH_BYTES = 1024 * 1024;
/** All that pg_restore prints of large objects' bytes; each stands on a line (PostgreSQL source, pg_backup_archiver.c). */
const STATEMENT = /^SELECT pg_catalog\.(?:lo_open|lowrite|lo_close|lo_create)\(.*\);$/;
/** Its own settings and transactions, which the session has already; comments. */
const PASSED_OVER = /^(?:$|--|BEGIN;$|COMMIT;$|SET \w+ = |SELECT pg_catalog\.set_config\(|\\(?:un)?restrict )/;

/** Lines without their breaks; a last one without a break is a torn one, and given out all the same. */
async function* linesOf(output: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of output) {
    const lines = (rest + chunk.toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
  if (rest !== '') yield rest;
}

export interface LoadedLargeObjects {
  readonly objects: number;
  readonly bytes: number;
}

/** Bytes in `SELECT pg_catalog.lowrite(0, '\x…');`, of two digits each. */
function writtenBytes(line: string): number {
  if (!line.startsWith('SELECT pg_catalog.lowrite(')) return 0;
  const at = line.indexOf(`'\\x`);
  return at < 0 ? 0 : (line.length - at - `'\\x`.length - `');`.length) / 2;
}

async function writeAll(
  context: TargetContext,
  target: Session,
  lines: AsyncIterable<string>,
): Promise<LoadedLargeObjects> {
  let batch: string[] = [];
  let waiting = 0;
  let objects = 0;
  let bytes = 0;
  const send = async (): Promise<void> => {
    if (batch.length > 0) await target.run(batch.join('\n'));
    batch = [];
    waiting = 0;
  };
  await target.run('BEGIN');
  for await (const line of lines) {
    if (PASSED_OVER.test(line)) continue;
    if (!STATEMENT.test(line)) {
      throw new PgsluiceError({
        code: 'ARCHIVE_UNREADABLE',
        message: `The archive's large objects are written in a way that is not known here: ${line.slice(0, 100)}`,
        hint: 'Make the archive again with pg_dump 9.6 or newer.',
      });
    }
    if (line.startsWith('SELECT pg_catalog.lo_open(')) objects += 1;
    bytes += writtenBytes(line);
    batch.push(line);
    waiting += line.length;
    if (waiting < BATCH_BYTES) continue;
    await context.gate.wait(context.signal);
    await send();
  }
  await send();
  return { objects, bytes };
}

/**
 * Writes the bytes of the archive's large objects, which exist already, in one transaction; again when the connection breaks.
 * @returns how many and how large they were. @throws PgsluiceError when they cannot be written, or the cancellation.
 */
export async function loadLargeObjects(
  context: TargetContext,
  path: string,
  dumpIds: readonly number[],
  sessions: SessionPool,
): Promise<LoadedLargeObjects> {
  if (dumpIds.length === 0) return { objects: 0, bytes: 0 };
  for (let attempt = 0; ; attempt += 1) {
    const stream = await openData(context, path, dumpIds);
    try {
      const loaded = await sessions.with(async (target) => {
        const written = await writeAll(context, target, linesOf(stream.output));
        // Before the COMMIT: an archive that broke off has its error here.
        await stream.ended;
        await target.run('COMMIT');
        return written;
      });
      const { objects, bytes } = loaded;
      const noun = objects === 1 ? 'object' : 'objects';
      log(context, 'info', `Loaded ${objects} large ${noun}, ${bytes.toLocaleString('en-US')} bytes.`);
      return loaded;
    } catch (error) {
      throwIfAborted(context.signal);
      const wait = RETRY_AFTER_MS[attempt];
      if (wait === undefined || !isTransient(error)) throw error;
      log(context, 'warn', 'Loading the large objects was interrupted; trying again.');
      await sleep(wait, undefined, { signal: context.signal });
    } finally {
      await stream.stop();
    }
  }
}
