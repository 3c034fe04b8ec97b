import { PgsluiceError } from '../errors.ts';
import { type ExplainContext, connectionError, explainError } from './explain.ts';
import { SQLSTATE, serverField, sqlStateOf } from './sqlstate.ts';

/** How long a replication connection that is logged in may take to begin sending, ms. */
export const START_TIMEOUT_MS = 60_000;

/** The slot is gone, or cannot give what it should. `says` follows its name. */
export function slotLost(slot: string, says: string, cause?: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'SLOT_LOST',
    message: `The replication slot "${slot}" of the source ${says}: changes were lost, and following cannot go on.`,
    hint: 'Cancel the job and start it anew; it copies everything again. If the source dropped the slot for its size, first raise max_slot_wal_keep_size there.',
    cause,
  });
}

/** Changes went by without the publication. */
export function publicationLost(publication: string, cause?: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'PUBLICATION_LOST',
    message: `The source has no publication "${publication}" where it reads its changes.`,
    hint: 'Somebody dropped it, and making it again does not bring back what went by. Cancel the job and start it anew.',
    cause,
  });
}

/** What an error of the replication connection means. `started`: the stream runs already. */
export function explainReplication(
  error: unknown,
  context: ExplainContext,
  input: { readonly slot: string; readonly publication: string },
  started: boolean,
): PgsluiceError {
  if (error instanceof PgsluiceError) return error;
  const message = serverField(error, 'message') ?? '';
  const state = sqlStateOf(error) ?? '';
  switch (state) {
    case SQLSTATE.objectInUse: {
      const pid = /\d+(?=\D*$)/.exec(message.replace(input.slot, ''))?.[0];
      return new PgsluiceError({
        code: 'SLOT_ACTIVE',
        message: `The replication slot "${input.slot}" of the source is in use${pid === undefined ? '' : ` by process ${pid}`}.`,
        hint: `Most often an earlier connection of this job that the source has not given up yet; it ends by wal_sender_timeout${pid === undefined ? '' : `, or by SELECT pg_terminate_backend(${pid})`}.`,
        retryable: true,
        cause: error,
      });
    }
    case SQLSTATE.undefinedObject:
      return started ? publicationLost(input.publication, error) : slotLost(input.slot, 'does not exist', error);
    case SQLSTATE.objectNotInPrerequisiteState:
      // "can no longer get changes from", since 18 "can no longer access"; other states are told in the detail.
      if (/no longer|invalidated/i.test(`${message} ${serverField(error, 'detail') ?? ''}`)) {
        return slotLost(input.slot, 'was invalidated', error);
      }
      break;
    case SQLSTATE.undefinedFile:
      if (/WAL|pg_wal/i.test(message)) return slotLost(input.slot, 'needs WAL that was removed', error);
      break;
    case SQLSTATE.tooManyConnections:
      if (/max_wal_senders/.test(message)) {
        return connectionError(
          context,
          {
            code: 'TOO_MANY_CONNECTIONS',
            says: `has no replication connection left: ${message}.`,
            hint: 'End one that is not needed (SELECT pid, application_name FROM pg_stat_replication), or raise max_wal_senders and restart that server.',
            retryable: true,
          },
          error,
        );
      }
      break;
    default:
  }
  return explainError(error, context);
}

/** The server ended the stream in good order. */
export const ENDED = {
  code: 'CONNECTION_LOST',
  says: 'ended the stream of changes, as it does when it is shut down.',
  hint: 'It is connected to again when it is back.',
  retryable: true,
} as const;

/** It did not begin. */
export const START_TIMED_OUT = {
  code: 'CONNECT_TIMEOUT',
  says: `did not begin to send its changes within ${START_TIMEOUT_MS / 1000} s.`,
  hint: "Look at the replication connection on that server (SELECT * FROM pg_stat_activity WHERE backend_type = 'walsender').",
  retryable: true,
} as const;

/** A setting is not what it was set to. */
export function refused(context: ExplainContext, name: string, expected: string, actual: string): PgsluiceError {
  return connectionError(context, {
    code: 'SETTINGS_REFUSED',
    says: `did not take ${name} = '${expected}' on its replication connection but kept '${actual}': values would arrive in another form.`,
    hint: `Nothing was read. Find out what holds ${name} there (SELECT * FROM pg_settings WHERE name = '${name}'), or give the server's direct address if there is a pooler before it.`,
  });
}
