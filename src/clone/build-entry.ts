import type { RestoreProblem } from '../contract/report.ts';
import type { ArchiveEntry } from '../postgres/archive.ts';
import type { TargetContext } from './context.ts';
import { log } from './context.ts';
import { harmful } from './post-data.ts';
import { restoreEntries, restoreEntry } from './restore.ts';
import type { SessionPool } from './session-pool.ts';

/** Makes one index or constraint and tells it; waits first while the job is paused. @returns what was refused. */
export async function buildEntry(
  context: TargetContext,
  sessions: SessionPool,
  entry: ArchiveEntry,
  table: { readonly schema: string; readonly name: string },
): Promise<RestoreProblem[]> {
  await context.gate.wait(context.signal);
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
  const problems = await sessions.with((session) =>
    // As one: an index that stands without the statements that belong to it would be passed over by a later run.
    entry.statements.length > 1
      ? restoreEntries(session, [entry], context.signal, () => undefined)
      : restoreEntry(session, entry, context.signal),
  );
  tell(harmful(problems).length > 0 ? 'failed' : 'built');
  return problems;
}

export function tellRefusals(context: Pick<TargetContext, 'emit'>, problems: readonly RestoreProblem[]): void {
  for (const problem of problems) {
    const level = problem.harmless ? 'info' : 'error';
    log(context, level, `The target refused ${problem.kind} ${problem.name}: ${problem.error} — ${problem.reason}`);
  }
}
