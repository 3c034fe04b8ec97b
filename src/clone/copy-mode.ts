import type { Session } from '../postgres/session.ts';
import type { TargetContext } from './context.ts';
import { log } from './context.ts';
import type { CopyMode } from './copy-table.ts';

/**
 * Tables that this job made are filled with FREEZE; in ones that were there before no trigger may fire and no foreign key be
 * checked row by row, where the role can have that. `first`: the job's first attempt at its tables.
 */
export async function chooseCopyMode(
  context: TargetContext,
  control: Session | null,
  first: boolean,
): Promise<CopyMode> {
  if (!context.options.dataOnly) return { fresh: true, untouched: first, replicaRole: false };
  const allowed = control !== null && (await canBeReplica(control));
  if (!allowed) {
    log(
      context,
      'warn',
      'The target role may not set session_replication_role: triggers of the target fire and foreign keys are checked while rows arrive.',
    );
  }
  return { fresh: false, untouched: false, replicaRole: allowed };
}

async function canBeReplica(session: Session): Promise<boolean> {
  try {
    await session.run("BEGIN; SET LOCAL session_replication_role = 'replica'; ROLLBACK");
    return true;
  } catch (error) {
    if (session.lost) throw error;
    await session.run('ROLLBACK');
    return false;
  }
}
