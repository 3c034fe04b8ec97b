import { PgsluiceError } from '../errors.ts';
import { type Reach, reach } from '../reach.ts';
import { type ConnectionSettings, isUnixSocket } from './settings.ts';

function localFile(what: string, hint: string): PgsluiceError {
  return new PgsluiceError({
    code: 'LOCAL_FILE_NOT_ALLOWED',
    message: `This agent is shared, so a job may not name ${what} of its machine.`,
    hint,
  });
}

/**
 * What can be said before anything is dialled, so that a job is refused when it is made. The addresses of a name are judged when they
 * are dialled (dial.ts). Passfile, service and client certificates cannot be named at all (settings.ts).
 * @throws PgsluiceError HOST_NOT_ALLOWED, LOCAL_FILE_NOT_ALLOWED.
 */
export function assertReachable(settings: ConnectionSettings, limits: Reach = reach()): void {
  if (!limits.restricted) return;
  if (isUnixSocket(settings.host)) {
    throw localFile('a Unix socket', 'Name the server by its host name: postgres://user:password@host:5432/database.');
  }
  if (settings.sslrootcert !== null && settings.sslrootcert !== 'system') {
    throw localFile(
      'a file in sslrootcert',
      'Use sslmode=verify-full&sslrootcert=system for a public authority, or sslmode=require to encrypt without verifying.',
    );
  }
  limits.assertNamed(settings.host, settings.port);
}
