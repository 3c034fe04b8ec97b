import type { JobActivity, SideActivity } from '../contract/activity.ts';
import { PgsluiceError } from '../errors.ts';
import { readActivity } from '../postgres/activity.ts';
import { openSession } from '../postgres/session.ts';
import type { ConnectionSettings, Side } from '../postgres/settings.ts';
import { asReport } from './as-report.ts';
import type { Sides } from './job-view.ts';
import { idLetters } from './new-job.ts';

/** A server that does not answer sooner is told as not asked, ms: somebody looks at the answer. */
const WITHIN_MS = 5_000;

/**
 * Asks both servers, each on a short connection of its own, what the sessions of a job run now. `rate`: of the run in hand, bytes/s.
 * A server that cannot be asked, for instance because it has no connection left, is told with the reason. @throws nothing.
 */
export async function jobActivity(id: string, sides: Sides, rate: number | null): Promise<JobActivity> {
  const [source, target] = await Promise.all([ask(id, sides.source, 'source'), ask(id, sides.target, 'target')]);
  return { at: new Date().toISOString(), rate, source, target };
}

async function ask(id: string, settings: ConnectionSettings | null, side: Side): Promise<SideActivity | null> {
  if (settings === null) return null;
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(noAnswer(side)), WITHIN_MS);
  try {
    const session = await openSession(settings, {
      signal: controller.signal,
      side,
      purpose: 'activity',
      readOnly: true,
    });
    try {
      const sessions = await readActivity(session, id, settings.applicationName, idLetters);
      return { sessions: sessions.map((one) => ({ ...one, blockedBy: [...one.blockedBy] })), error: null };
    } finally {
      await session.close();
    }
  } catch (error) {
    const { code, message, hint } = asReport(error);
    return { sessions: [], error: { code, message, hint } };
  } finally {
    clearTimeout(timer);
  }
}

function noAnswer(side: Side): PgsluiceError {
  return new PgsluiceError({
    code: 'ACTIVITY_TIMEOUT',
    message: `The ${side} did not say within ${WITHIN_MS / 1000} s what runs there.`,
    hint: 'Ask again; the log of the job tells what it waits for.',
    retryable: true,
  });
}
