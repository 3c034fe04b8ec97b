import { PgsluiceError } from '../errors.ts';
import { serverField } from '../postgres/sqlstate.ts';

/** Asked for more after `close`. */
export function closedError(): PgsluiceError {
  return new PgsluiceError({
    code: 'STREAM_CLOSED',
    message: 'The change stream was closed.',
    hint: 'Open it again.',
    retryable: true,
  });
}

/** Nothing came, not even answers. `ms`: for how long. */
export function silentError(ms: number): PgsluiceError {
  return new PgsluiceError({
    code: 'STREAM_SILENT',
    message: `The source has said nothing for ${Math.round(ms / 1000)} s, though it was asked to.`,
    hint: 'The line to it is broken without either side being told, or it is far too busy. It is connected to again.',
    retryable: true,
  });
}

/** The source waits for this connection before it shuts down. */
export function stoppingError(): PgsluiceError {
  return new PgsluiceError({
    code: 'CONNECTION_LOST',
    message: 'The source is being shut down and waits for this connection, so it was ended.',
    hint: 'It is connected to again when it is back; the slot keeps what it needs.',
    retryable: true,
  });
}

/** The source broke off in a transaction that had not committed. `error`: what it said. */
export function streamingFailed(error: PgsluiceError): PgsluiceError {
  return new PgsluiceError({
    code: 'STREAMING_FAILED',
    message: `The source could not send a large transaction before its end: ${serverField(error, 'message') ?? error.message}.`,
    hint: 'It is connected to again and asked for whole transactions from here on, which takes it more disk.',
    retryable: true,
    cause: error,
  });
}
