import type { RestoreProblem } from '../contract/report.ts';
import type { ArchiveEntry } from '../postgres/archive.ts';
import type { Session } from '../postgres/session.ts';
import { sqlStateOf } from '../postgres/sqlstate.ts';
import { judgeRefusal } from './judge.ts';

/** Statements sent in one round trip; one implicit transaction, so a refusal undoes the whole batch and it is repeated singly. */
export const BATCH_ENTRIES = 50;

/** What pg_restore sets before it restores, so that entries mean the same here. */
export const RESTORE_SETTINGS = [
  'SET check_function_bodies = false',
  'SET client_min_messages = warning',
  "SELECT pg_catalog.set_config('search_path', '', false)",
  'SET standard_conforming_strings = on',
  'SET row_security = off',
].join('; ');

/** Entries that restore nothing by themselves here, each for a reason. */
export function isLeftOut(entry: ArchiveEntry): boolean {
  // Settings of the dump itself; the session has its own.
  return entry.statements.length === 0 || ['ENCODING', 'STDSTRINGS', 'SEARCHPATH'].includes(entry.type);
}

/** What the archive's SQL has to be fitted to. */
export interface TargetFacts {
  readonly major: number;
  /** Names of the target's tablespaces. */
  readonly tablespaces: ReadonlySet<string>;
}

/** The name in `SET default_tablespace = name;`, or null; '' stands for the database's own. */
function tablespaceOf(setting: string): string | null {
  const name = /^SET default_tablespace = (?:'([^']*)'|"((?:[^"]|"")+)"|(\S+));$/.exec(setting);
  return name === null ? null : (name[1] ?? name[2]?.replaceAll('""', '"') ?? name[3] ?? null);
}

/**
 * The entry as the target understands it. A tablespace that it lacks gives way to the database's own (validation warns of it);
 * and a pg_dump newer than the target prints what the target did not have yet, where that only states how every older server
 * behaves. Pure.
 */
export function adaptToTarget(entry: ArchiveEntry, target: TargetFacts): ArchiveEntry {
  const settings = entry.settings.map((setting) => {
    const tablespace = tablespaceOf(setting);
    return tablespace === null || tablespace === '' || target.tablespaces.has(tablespace)
      ? setting
      : "SET default_tablespace = '';";
  });
  const statements =
    entry.type === 'SUBSCRIPTION' && target.major < 16
      ? entry.statements.map((statement) => statement.replace(', run_as_owner = true', ''))
      : entry.statements;
  return { ...entry, settings, statements };
}

export function entryName(entry: Pick<ArchiveEntry, 'schema' | 'name'>): string {
  return entry.schema === null ? entry.name : `${entry.schema}.${entry.name}`;
}

/** With the server's detail: it names the key of a duplicate, and of a row without its parent. */
function errorText(error: unknown): string {
  const text = wholeText(error);
  return text.length > 2000 ? `${text.slice(0, 2000)} …` : text;
}

function wholeText(error: unknown): string {
  const cause: unknown = error instanceof Error ? error.cause : undefined;
  if (cause instanceof Error) {
    const detail = 'detail' in cause && typeof cause.detail === 'string' ? cause.detail : '';
    return detail === '' ? cause.message : `${cause.message}. Detail: ${detail}`;
  }
  return error instanceof Error ? error.message : String(error);
}

/** What it means that the target refused one statement of an entry. Pure. */
export function refusal(entry: ArchiveEntry, statement: string, error: unknown): RestoreProblem {
  const verdict = judgeRefusal({
    type: entry.type,
    name: entry.name,
    statement,
    sqlState: sqlStateOf(error),
    error: errorText(error),
  });
  return {
    kind: entry.type,
    name: entryName(entry),
    statement: statement.length > 2000 ? `${statement.slice(0, 2000)} …` : statement,
    error: errorText(error),
    harmless: verdict.harmless,
    reason: verdict.reason,
  };
}

/**
 * Runs the statements of one entry, each on its own, and judges those that are refused.
 * @returns the refusals, harmless ones included. @throws when the connection is lost or the job was cancelled.
 */
export async function restoreEntry(
  session: Session,
  entry: ArchiveEntry,
  signal: AbortSignal,
): Promise<RestoreProblem[]> {
  const problems: RestoreProblem[] = [];
  if (entry.settings.length > 0) await session.run(entry.settings.join('\n'));
  for (const statement of entry.statements) {
    try {
      await session.run(statement);
    } catch (error) {
      if (signal.aborted || session.lost) throw error;
      problems.push(refusal(entry, statement, error));
    }
  }
  return problems;
}

/** The SQL of many entries, without settings that are in force already. Pure. */
export function batchSql(batch: readonly ArchiveEntry[]): string {
  let inForce = '';
  return batch
    .flatMap(({ settings, statements }) => {
      const wanted = settings.join('\n');
      if (wanted === '' || wanted === inForce) return statements;
      inForce = wanted;
      return [...settings, ...statements];
    })
    .join('\n');
}

/**
 * Restores entries in one transaction and one round trip. @returns false when the target refused any of them; nothing was made then.
 * @throws when the connection is lost or the job was cancelled.
 */
export async function restoreBatch(
  session: Session,
  batch: readonly ArchiveEntry[],
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await session.run(batchSql(batch));
    return true;
  } catch (error) {
    if (signal.aborted || session.lost) throw error;
    return false;
  }
}

/**
 * Restores entries in their order: many in one round trip, and where the target refuses a batch, one by one, so that exactly
 * the refused statements are named and everything else is made.
 */
export async function restoreEntries(
  session: Session,
  entries: readonly ArchiveEntry[],
  signal: AbortSignal,
  onEntry: (done: number) => void,
): Promise<RestoreProblem[]> {
  const problems: RestoreProblem[] = [];
  const todo = entries.filter((entry) => !isLeftOut(entry));
  for (let at = 0; at < todo.length; at += BATCH_ENTRIES) {
    const batch = todo.slice(at, at + BATCH_ENTRIES);
    if (!(await restoreBatch(session, batch, signal))) {
      for (const entry of batch) problems.push(...(await restoreEntry(session, entry, signal)));
    }
    onEntry(at + batch.length);
  }
  return problems;
}
