import type { RestoreProblem } from '../contract/report.ts';
import { PgsluiceError } from '../errors.ts';
import { OWN_SCHEMA } from '../postgres/own-objects.ts';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import { tellRefusals } from './build-entry.ts';
import { readRelationOwners } from './catalogue.ts';
import type { CloneContext } from './context.ts';
import { log } from './context.ts';
import { emptyConfiguration, pinVersions, planOnTarget, updateExtensions } from './extensions.ts';
import { fitArchive, makeMissingSchemas } from './fit.ts';
import { refusedError } from './outcome.ts';
import { harmful } from './post-data.ts';
import { dropTargetObjects, tellDropped } from './replace.ts';
import { RESTORE_SETTINGS, restoreEntries } from './restore.ts';
import { carryRoles } from './roles.ts';
import { takeMoment } from './source-moment.ts';
import { writeStoredSchema } from './staged-archive.ts';
import type { StoredSchema } from './staged-archive.ts';
import { planStaged } from './staged-plan.ts';
import type { LiveCopyContext } from './staged-types.ts';

/** Runs `work` with a session to the target of its own. */
export async function withTarget<T>(
  context: CloneContext,
  purpose: string,
  work: (target: Session) => Promise<T>,
): Promise<T> {
  const target = await openSession(context.target, {
    signal: context.signal,
    side: 'target',
    purpose,
    retryForMs: 30_000,
  });
  try {
    return await work(target);
  } finally {
    await target.close();
  }
}

/**
 * Reads the source's schema under a snapshot that ends with that, makes its part before the rows on the target, and stores it
 * there for later runs. @throws PgsluiceError RESTORE_REFUSED, SOURCE_SCHEMA_CHANGES, PROGRESS_DAMAGED, the cancellation.
 */
export async function makeSchema(
  context: CloneContext,
  live: LiveCopyContext,
  note: (problems: readonly RestoreProblem[]) => void,
): Promise<StoredSchema> {
  await withTarget(context, 'schema', (target) => refuseRecords(live, target));
  const moment = await takeMoment(context);
  try {
    if (moment.archive === null) throw new Error('a live job dumps its schema');
    const owners = await readRelationOwners(moment.snapshot.holder, context.sourceVersion.major);
    const fitted = await fitArchive(context, moment.archive);
    const { archive } = fitted;
    return await withTarget(context, 'schema', async (target) => {
      await target.run(RESTORE_SETTINGS);
      await context.beforeFirstWrite();
      const roles = await carryRoles(context, moment.snapshot.holder, target, moment.archive?.entries ?? []);
      for (const statement of roles.statements) log(context, 'info', `On the target: ${statement}`);
      // Nothing more is read from the source; its old row versions need not be kept any longer.
      await moment.snapshot.close();
      if (context.replaceTarget) {
        tellDropped(context, await dropTargetObjects(target, context.options.replace, [OWN_SCHEMA]));
      }
      if (context.replaceTarget) await emptyConfiguration(target, moment.tables);
      await makeMissingSchemas(target, archive.entries, context.options);
      const plan = planStaged(archive, owners, new Set(), context.targetVersion.major);
      const extensions = await planOnTarget(context, target, moment.extensions);
      const preData = pinVersions(plan.preData, extensions);
      const problems = await restoreEntries(target, preData, context.signal, () => undefined);
      tellRefusals(context, problems);
      note(problems);
      if (harmful(problems).length > 0) throw refusedError(harmful(problems));
      // Not at the cutover, which has no time for it.
      const todo = [...roles.todo, ...(await updateExtensions(context, target, extensions))];
      const stored: StoredSchema = { ...fitted, owners, problems, todo, restBuilt: false };
      await live.storeArchive(target, writeStoredSchema(stored));
      return stored;
    });
  } finally {
    await moment.snapshot.close();
  }
}

/** Records without an archive would speak of tables that are about to be made anew. */
async function refuseRecords(live: LiveCopyContext, target: Session): Promise<void> {
  const copied = await live.readCopied(target);
  if (copied.length === 0) return;
  throw new PgsluiceError({
    code: 'PROGRESS_DAMAGED',
    message: `The target has records of ${copied.length} copied tables of this job, but no longer its schema archive.`,
    hint: 'Somebody changed the schema pgsluice_live of the target. Cancel the job and start a new one.',
  });
}
