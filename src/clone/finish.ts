import type { RestoreProblem } from '../contract/report.ts';
import type { ArchiveEntry } from '../postgres/archive.ts';
import type { Session } from '../postgres/session.ts';
import { LOCAL_RESTORE_SETTINGS, restoreGuarded } from './guarded.ts';
import { refusedError } from './outcome.ts';
import { harmful } from './post-data.ts';
import { entryName } from './restore.ts';
import { sequenceStatements } from './sequences.ts';
import type { SequenceValue } from './sequences.ts';
import type { StagedPlan } from './staged-plan.ts';
import type { Finished } from './staged-types.ts';

/** The sequences' values as one more entry, so that a refusal is named like any other. */
function sequenceEntry(values: readonly SequenceValue[]): ArchiveEntry {
  return {
    dumpId: 0,
    classOid: 0,
    oid: 0,
    dependencies: [],
    type: 'SEQUENCE SET',
    schema: null,
    name: `of ${values.length} sequences`,
    owner: null,
    section: 'post-data',
    settings: [],
    statements: sequenceStatements(values),
  };
}

function count(entries: readonly ArchiveEntry[], ...types: readonly string[]): number {
  return entries.filter((entry) => types.includes(entry.type)).length;
}

/**
 * Makes, in the session's open transaction, all that waits for the cutover, in pg_restore's order. Sequences come before the
 * privileges, which may leave their owner without a right to them. `refreshes`: views that are still to be filled.
 * @throws PgsluiceError RESTORE_REFUSED for refusals that matter.
 */
export async function finishTarget(
  target: Session,
  plan: StagedPlan,
  sequences: readonly SequenceValue[],
  refreshes: readonly ArchiveEntry[],
  signal: AbortSignal,
): Promise<Finished> {
  await target.run(LOCAL_RESTORE_SETTINGS);
  const entries = [
    sequenceEntry(sequences),
    ...plan.foreignKeys.map((key) => key.entry),
    ...plan.firing,
    ...plan.privileges,
    ...refreshes,
    ...plan.last,
  ];
  const { problems, roundTrips } = await restoreGuarded(target, entries, signal);
  if (harmful(problems).length > 0) throw refusedError(harmful(problems));
  const triggers = count(plan.firing, 'TRIGGER');
  const rules = count(plan.firing, 'RULE');
  const policies = count(plan.firing, 'POLICY', 'ROW SECURITY');
  return {
    unvalidated: plan.foreignKeys.flatMap(({ later }) => (later === null ? [] : [later])),
    problems,
    counts: {
      foreignKeys: plan.foreignKeys.length,
      triggers,
      rules,
      policies,
      privileges: plan.privileges.length,
      sequences: sequences.length,
      refreshed: refreshes.length,
      others: plan.firing.length - triggers - rules - policies + plan.last.length,
      roundTrips: roundTrips + 1,
    },
  };
}

/**
 * Tries all that `finishTarget` will do and takes it back, in a transaction of its own, so that a refusal is known hours before
 * the cutover. Left out is what looks at rows: they come from different moments as long as the source is followed.
 * @throws PgsluiceError RESTORE_REFUSED.
 */
export async function rehearseFinish(target: Session, plan: StagedPlan, signal: AbortSignal): Promise<void> {
  const rehearsed = { ...plan, foreignKeys: plan.foreignKeys.filter((key) => !key.checksNow) };
  await target.run('BEGIN');
  try {
    await finishTarget(target, rehearsed, [], [], signal);
  } finally {
    if (!target.lost) await target.run('ROLLBACK');
  }
}

/** Fills the views; answers those that were refused, with the target's words. @throws when the connection is lost or the job was cancelled. */
export async function refreshEach(
  target: Session,
  entries: readonly ArchiveEntry[],
  signal: AbortSignal,
): Promise<{ readonly entry: ArchiveEntry; readonly problem: string }[]> {
  const refused: { entry: ArchiveEntry; problem: string }[] = [];
  for (const entry of entries) {
    try {
      await target.run(entry.statements.join('\n'));
    } catch (error) {
      if (signal.aborted || target.lost) throw error;
      const words = error instanceof Error ? error.message : String(error);
      refused.push({ entry, problem: `${entryName(entry)}: ${words}` });
    }
  }
  return refused;
}

/** Refusals of both lists, each once. Pure. */
export function mergeProblems(
  known: readonly RestoreProblem[],
  found: readonly RestoreProblem[],
): readonly RestoreProblem[] {
  const keys = new Set(known.map((problem) => problem.statement));
  return [...known, ...found.filter((problem) => !keys.has(problem.statement))];
}
