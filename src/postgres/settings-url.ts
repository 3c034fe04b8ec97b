import { type ConnectionSettings, isUnixSocket } from './settings.ts';

/** A URL that every PostgreSQL client reads; a Unix socket stands in its `host` parameter. Pure. */
export function settingsUrl(settings: ConnectionSettings, withPassword: boolean): string {
  const user = encodeURIComponent(settings.user);
  const secret = withPassword && settings.password !== null ? `:${encodeURIComponent(settings.password)}` : '';
  const socket = isUnixSocket(settings.host);
  const host = settings.host.includes(':') ? `[${settings.host}]` : encodeURIComponent(settings.host);
  // libpq reads a + as itself, so URLSearchParams' spelling of a space would change the value.
  const parameters = [
    ...(socket ? [`host=${encodeURIComponent(settings.host)}`, `port=${settings.port}`] : []),
    `sslmode=${settings.sslmode}`,
    ...(settings.sslrootcert === null ? [] : [`sslrootcert=${encodeURIComponent(settings.sslrootcert)}`]),
  ];
  const place = socket ? '' : `${host}:${settings.port}`;
  return `postgres://${user}${secret}@${place}/${encodeURIComponent(settings.database)}?${parameters.join('&')}`;
}
