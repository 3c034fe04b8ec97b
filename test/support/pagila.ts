import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Client } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { sharedDir } from './binaries.ts';
import type { TestServerLike } from './servers.ts';

export interface ScriptPart {
  readonly sql: string;
  /** Rows in COPY's text format that follow `sql`; null when `sql` is no COPY. */
  readonly rows: string | null;
}

/** Cuts a plain pg_dump script at its COPY blocks, so that no psql is needed to run it. */
export function splitScript(script: string): ScriptPart[] {
  const parts: ScriptPart[] = [];
  const block = /^COPY [^;]+ FROM stdin;\n/gm;
  let at = 0;
  for (let found = block.exec(script); found !== null; found = block.exec(script)) {
    const before = script.slice(at, found.index).trim();
    if (before !== '') parts.push({ sql: before, rows: null });
    const start = found.index + found[0].length;
    const end = script.startsWith('\\.\n', start) ? start : script.indexOf('\n\\.\n', start) + 1;
    parts.push({ sql: found[0].trim().replace(/;$/, ''), rows: script.slice(start, end) });
    at = end + '\\.\n'.length;
    block.lastIndex = at;
  }
  const rest = script.slice(at).trim();
  if (rest !== '') parts.push({ sql: rest, rows: null });
  return parts;
}

/** Where the Pagila scripts are, or null: the reason to skip is then "no sample data beside the project". */
export function pagilaDir(): string | null {
  const shared = sharedDir();
  return shared === null ? null : join(shared, 'data/pagila');
}

/** Creates `database` and fills it with Pagila. */
export async function loadPagila(server: TestServerLike, database: string): Promise<void> {
  const dir = pagilaDir();
  if (dir === null) throw new Error('There is no shared/data/pagila beside the project; set PGSLUICE_TEST_SHARED.');
  await server.createDatabase(database);
  const client = new Client({ connectionString: server.url(database) });
  await client.connect();
  try {
    for (const file of ['pagila-schema.sql', 'pagila-data.sql']) {
      for (const part of splitScript(await readFile(join(dir, file), 'utf8'))) {
        if (part.rows === null) await client.query(part.sql);
        else await pipeline(Readable.from([part.rows]), client.query(copyFrom(part.sql)));
      }
    }
  } finally {
    await client.end();
  }
}
