import { dataInScope } from '../checks/scope.ts';
import type { ApplicationState } from '../postgres/applications/read-applications.ts';
import { readApplications } from '../postgres/applications/read-applications.ts';
import { openSession } from '../postgres/session.ts';
import type { ReadApplicationsInput } from './rooms.ts';

const retryForMs = 1_500;

/** On a session of its own. @throws PgsluiceError when the server is not reached; the cancellation. */
export async function readApplicationsOf(input: ReadApplicationsInput): Promise<readonly ApplicationState[] | null> {
  const { settings, side, options, signal } = input;
  const session = await openSession(settings, { signal, side, purpose: 'application', readOnly: true, retryForMs });
  try {
    const read = await readApplications(session, (schema, name) => dataInScope(options, schema, name));
    return read.unread === null ? read.found : null;
  } finally {
    await session.close();
  }
}
