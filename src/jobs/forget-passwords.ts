import { PgsluiceError } from '../errors.ts';
import { forgettable, type PasswordBounds, storeForgotten } from '../store/forget-queries.ts';
import type { JobRow } from '../store/job-queries.ts';
import type { Store } from '../store/store.ts';
import { openSides, sealSides } from './job-view.ts';

/** A day after a job is completed, 30 days after anything else was last touched. */
export const passwordBounds: PasswordBounds = { completedSeconds: 86_400, otherSeconds: 30 * 86_400 };

/**
 * Takes the passwords, and what the hooks call, out of jobs that need them no more. `free` says whether this process leaves the job
 * alone. @returns how many jobs. @throws PgsluiceError SECRET_KEY_WRONG.
 */
export async function forgetPasswords(
  store: Store,
  bounds: PasswordBounds,
  free: (id: string) => boolean,
): Promise<number> {
  let forgotten = 0;
  for (const old of await forgettable(store.db, bounds)) {
    if (!free(old.id)) continue;
    const { source, target } = openSides(store.secrets, old);
    const anew = sealSides(store.secrets, old.id, {
      source: source === null ? null : { ...source, password: null },
      target: target === null ? null : { ...target, password: null },
    });
    if (await store.underKey((db) => storeForgotten(db, old, anew))) forgotten += 1;
  }
  return forgotten;
}

/** @throws PgsluiceError PASSWORDS_FORGOTTEN for a job that cannot reach its servers any more. */
export function assertPasswordsKept({ passwordsForgottenAt: at }: Pick<JobRow, 'passwordsForgottenAt'>): void {
  if (at === null) return;
  throw new PgsluiceError({
    code: 'PASSWORDS_FORGOTTEN',
    message: `The passwords of this job were deleted on ${at.toISOString().slice(0, 10)}, because nothing had been done with it for a long time.`,
    hint: 'Make a new job with the same servers; it has to be given the passwords again.',
  });
}
