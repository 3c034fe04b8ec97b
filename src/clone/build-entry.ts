import type { RestoreProblem } from '../contract/report.ts';
import type { ArchiveEntry } from '../postgres/archive.ts';
import type { TargetContext } from './context.ts';
import { log } from './context.ts';
import { harmful } from './post-data.ts';
import { entryName, restoreEntries, restoreEntry } from './restore.ts';
import type { SessionPool } from './session-pool.ts';

interface OfTable {
  readonly schema: string;
  readonly name: string;
}

/** Tells what becomes of an entry; the answer tells its end, by what was refused of it. */
function announce(context: TargetContext, entry: ArchiveEntry, table: OfTable): (problems: RestoreProblem[]) => void {
  const startedAt = Date.now();
  const tell = (state: 'building' | 'built' | 'failed'): void =>
    context.emit({
      type: 'index',
      kind: entry.type,
      schema: table.schema,
      table: table.name,
      name: entry.name,
      state,
      seconds: (Date.now() - startedAt) / 1000,
    });
  tell('building');
  return (problems) => tell(harmful(problems).length > 0 ? 'failed' : 'built');
}

/** Makes one index or constraint and tells it; waits first while the job is paused. @returns what was refused. */
export async function buildEntry(
  context: TargetContext,
  sessions: SessionPool,
  entry: ArchiveEntry,
  table: OfTable,
): Promise<RestoreProblem[]> {
  await context.gate.wait(context.signal);
  const told = announce(context, entry, table);
  const problems = await sessions.with((session) =>
    // As one: an index that stands without the statements that belong to it would be passed over by a later run.
    entry.statements.length > 1
      ? restoreEntries(session, [entry], context.signal, () => undefined)
      : restoreEntry(session, entry, context.signal),
  );
  told(problems);
  return problems;
}

/**
 * The same for indexes and constraints of small tables, in one transaction and one round trip; what is refused is found one by
 * one. @returns what was refused, by entry.
 */
export async function buildTogether(
  context: TargetContext,
  sessions: SessionPool,
  builds: readonly { readonly entry: ArchiveEntry; readonly table: OfTable }[],
): Promise<Map<ArchiveEntry, RestoreProblem[]>> {
  await context.gate.wait(context.signal);
  const told = builds.map(({ entry, table }) => announce(context, entry, table));
  const entries = builds.map(({ entry }) => entry);
  const problems = await sessions.with((session) => restoreEntries(session, entries, context.signal, () => undefined));
  return new Map(
    entries.map((entry, at) => {
      const own = problems.filter(
        ({ kind, name, statement }) =>
          kind === entry.type &&
          name === entryName(entry) &&
          entry.statements.some((one) => beginsWith(one, statement)),
      );
      told[at]?.(own);
      return [entry, own];
    }),
  );
}

/** A problem holds the beginning of a long statement. */
function beginsWith(statement: string, shown: string): boolean {
  return statement.startsWith(shown.replace(/ …$/, ''));
}

export function tellRefusals(context: Pick<TargetContext, 'emit'>, problems: readonly RestoreProblem[]): void {
  for (const problem of problems) {
    const level = problem.harmless ? 'info' : 'error';
    log(context, level, `The target refused ${problem.kind} ${problem.name}: ${problem.error} — ${problem.reason}`);
  }
}
