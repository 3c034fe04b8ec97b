import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { PgsluiceError } from '../errors.ts';

export type Side = 'source' | 'target';

export const sslModes = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;
export type SslMode = (typeof sslModes)[number];

/** Everything that is needed to reach one database. Holds the password: never log it whole. */
export interface ConnectionSettings {
  /** Name, IP address, or directory of a Unix socket (starts with `/`, or `@` for Linux' abstract names). */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string | null;
  readonly database: string;
  readonly sslmode: SslMode;
  /** Path of a file with trusted certificates, or `system`. */
  readonly sslrootcert: string | null;
  readonly applicationName: string;
  /** Stands at the end of every session's name, so that what a dead agent left behind is known for its job's; none when left out. */
  readonly job?: string;
  /** Its sessions leave the server's other processors to others: no statement is run by several processes. */
  readonly gentle?: true;
  /** The agent's own database, which no job has named: what jobs may reach says nothing of it. */
  readonly own?: true;
  /** Covers name resolution, TCP, TLS and authentication together. */
  readonly connectTimeoutMs: number;
  /** How long a line may be silent while the server owes an answer, before it is asked about (line-watch.ts); ms. */
  readonly silenceMs?: number;
}

/** How a person names a server: a URL, or fields; a field given beside the URL wins over it. */
export interface EndpointLike {
  readonly url?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  readonly database?: string | undefined;
  readonly sslmode?: string | undefined;
  readonly sslrootcert?: string | undefined;
}

const DEFAULT_PORT = 5432;
const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;
const MAX_CONNECT_TIMEOUT_S = 600;

/**
 * Parameters of libpq that change nothing here, each for a reason: keepalives are always on; sessions settle their
 * server settings themselves, so `options` and `client_encoding` would be overridden; GSS encryption and channel
 * binding are not used (verify-full is how a server is authenticated here); one host is named, and whether it is a
 * primary is found by the checks.
 */
const IGNORED_PARAMETERS: ReadonlySet<string> = new Set([
  'keepalives',
  'keepalives_idle',
  'keepalives_interval',
  'keepalives_count',
  'options',
  'client_encoding',
  'fallback_application_name',
  'channel_binding',
  'gssencmode',
  'sslnegotiation',
  'sslsni',
  'sslcompression',
  'target_session_attrs',
  'load_balance_hosts',
]);

const EXAMPLE = 'postgres://user:password@host:5432/database?sslmode=require';

function invalid(side: Side, message: string, hint: string): PgsluiceError {
  return new PgsluiceError({ code: 'INVALID_URL', message: `The ${side} ${message}`, hint });
}

function decode(side: Side, part: string, raw: string): string {
  let text: string;
  try {
    text = decodeURIComponent(raw);
  } catch (cause) {
    throw new PgsluiceError({
      code: 'INVALID_URL',
      message: `The ${side} URL has a % in its ${part} that is not followed by two hexadecimal digits of UTF-8.`,
      hint: `Write a literal % as %25, and / ? # @ : as %2F %3F %23 %40 %3A.`,
      cause,
    });
  }
  if (text.includes('\0')) throw invalid(side, `URL has a zero byte in its ${part}.`, `Remove %00 from the ${part}.`);
  return text;
}

function ambiguous(side: Side): PgsluiceError {
  return invalid(
    side,
    'URL has an @ after the first slash or question mark, or a parameter that is not known, so it cannot be told what belongs to the password.',
    'In a user or password write / ? # @ : & as %2F %3F %23 %40 %3A %26; in a database name or parameter write @ as %40.',
  );
}

/** A mode or a switch as it may be repeated to a person: a word; anything else could be a piece of the password. */
function shownWord(text: string): string {
  return /^[\w-]{1,20}$/.test(text) ? text : '…';
}

interface Parts {
  host?: string;
  port?: number;
  user?: string;
  password?: string;
  database?: string;
  sslmode?: string;
  ssl?: string;
  sslrootcert?: string;
  applicationName?: string;
  connectTimeout?: string;
  silence?: string;
}

function parsePort(side: Side, text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65_535) return port;
  // The text is not shown: with an unescaped / in the password it is a piece of it.
  throw invalid(
    side,
    'URL has a port that is not a number from 1 to 65535.',
    `Write it as ${EXAMPLE}; in a user or password write / ? # @ : as %2F %3F %23 %40 %3A.`,
  );
}

function parseHostPort(side: Side, text: string): { host: string | undefined; port: number | undefined } {
  let host: string;
  let rest: string;
  if (text.startsWith('[')) {
    const end = text.indexOf(']');
    if (end < 0)
      throw invalid(side, 'URL opens an IPv6 address with [ and never closes it.', 'Write it as [::1]:5432.');
    host = decode(side, 'host', text.slice(1, end));
    rest = text.slice(end + 1);
    if (rest !== '' && !rest.startsWith(':')) {
      throw invalid(side, 'URL has text between the ] of its IPv6 address and the port.', 'Write it as [::1]:5432.');
    }
  } else {
    const colon = text.indexOf(':');
    if (colon !== text.lastIndexOf(':')) {
      throw invalid(
        side,
        'URL has more than one colon in its host.',
        'Put an IPv6 address in brackets, [::1]:5432; in a user or password write @ and : as %40 and %3A.',
      );
    }
    host = decode(side, 'host', colon < 0 ? text : text.slice(0, colon));
    rest = colon < 0 ? '' : text.slice(colon);
  }
  const port = rest === '' || rest === ':' ? undefined : parsePort(side, rest.slice(1));
  return { host: host === '' ? undefined : host, port };
}

/** False for one that is not known. */
function applyParameter(side: Side, parts: Parts, name: string, value: string): boolean {
  switch (name) {
    case 'host':
      parts.host = value;
      return true;
    case 'port':
      parts.port = parsePort(side, value);
      return true;
    case 'user':
      parts.user = value;
      return true;
    case 'password':
      parts.password = value;
      return true;
    case 'dbname':
      parts.database = value;
      return true;
    case 'sslmode':
      parts.sslmode = value;
      return true;
    case 'ssl':
      parts.ssl = value;
      return true;
    case 'sslrootcert':
      parts.sslrootcert = value;
      return true;
    case 'application_name':
      parts.applicationName = value;
      return true;
    case 'connect_timeout':
      parts.connectTimeout = value;
      return true;
    case 'tcp_user_timeout':
      parts.silence = value;
      return true;
    default:
      return IGNORED_PARAMETERS.has(name);
  }
}

function parseUrl(side: Side, url: string): Parts {
  const scheme = /^(postgres|postgresql|ecto):\/\//i.exec(url);
  if (scheme === null) {
    throw invalid(side, 'URL does not begin with postgres://, postgresql:// or ecto://.', `Write it as ${EXAMPLE}.`);
  }
  const rest = url.slice(scheme[0].length);
  const authorityEnd = rest.search(/[/?]/);
  const authority = authorityEnd < 0 ? rest : rest.slice(0, authorityEnd);
  const tail = authorityEnd < 0 ? '' : rest.slice(authorityEnd);
  const question = tail.indexOf('?');
  const path = question < 0 ? tail : tail.slice(0, question);
  const query = question < 0 ? '' : tail.slice(question + 1);
  // The last @ separates, so that a password with an unescaped @ still means what its owner meant.
  const at = authority.lastIndexOf('@');
  // Else a piece of the password would become host, database or parameter, and be shown as such.
  if (path.includes('@') || (at < 0 && query.includes('@'))) throw ambiguous(side);
  const parts: Parts = {};
  if (at >= 0) {
    const userInfoText = authority.slice(0, at);
    const colon = userInfoText.indexOf(':');
    const user = decode(side, 'user', colon < 0 ? userInfoText : userInfoText.slice(0, colon));
    if (user !== '') parts.user = user;
    if (colon >= 0) parts.password = decode(side, 'password', userInfoText.slice(colon + 1));
  }
  const { host, port } = parseHostPort(side, authority.slice(at + 1));
  if (host !== undefined) parts.host = host;
  if (port !== undefined) parts.port = port;
  const database = decode(side, 'database', path.slice(1));
  if (database !== '') parts.database = database;
  for (const pair of query.split('&')) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    const name = decode(side, 'parameters', equals < 0 ? pair : pair.slice(0, equals));
    if (equals >= 0 && applyParameter(side, parts, name, decode(side, 'parameters', pair.slice(equals + 1)))) continue;
    // A password that is not escaped would show a piece of itself as a name.
    if (/@|(?:^|&)password=/i.test(query)) throw ambiguous(side);
    if (equals < 0) throw invalid(side, `URL has the parameter "${name}" without a value.`, `Write ${name}=value.`);
    throw invalid(
      side,
      `URL has the parameter "${name}", which pgsluice does not know.`,
      `Remove ${name}=… from the URL. Known are sslmode, sslrootcert, application_name, connect_timeout, tcp_user_timeout, host, port, user, password and dbname.`,
    );
  }
  return parts;
}

function isSslMode(text: string): text is SslMode {
  return (sslModes as readonly string[]).includes(text);
}

function chooseSslMode(side: Side, parts: Parts): SslMode {
  if (parts.sslmode !== undefined) {
    if (isSslMode(parts.sslmode)) return parts.sslmode;
    throw invalid(
      side,
      `has sslmode "${shownWord(parts.sslmode)}", which does not exist.`,
      `Use one of ${sslModes.join(', ')}.`,
    );
  }
  // Ecto's and Heroku's spelling.
  if (parts.ssl === undefined) return 'prefer';
  if (['true', '1', 'yes', 'on', 'require'].includes(parts.ssl)) return 'require';
  if (['false', '0', 'no', 'off'].includes(parts.ssl)) return 'disable';
  throw invalid(
    side,
    `URL has ssl=${shownWord(parts.ssl)}, which is neither true nor false.`,
    'Use sslmode=require instead.',
  );
}

function chooseTimeout(side: Side, text: string | undefined): number {
  if (text === undefined) return DEFAULT_CONNECT_TIMEOUT_MS;
  if (!/^\d{1,9}$/.test(text)) {
    throw invalid(
      side,
      'URL has a connect_timeout that is not a whole number of seconds.',
      'Write connect_timeout=10.',
    );
  }
  const seconds = Number(text);
  // libpq's 0 waits for ever; every wait here is bounded.
  return seconds === 0 ? DEFAULT_CONNECT_TIMEOUT_MS : Math.min(seconds, MAX_CONNECT_TIMEOUT_S) * 1000;
}

/** Shorter ones would ask about every statement that takes a moment. */
const LEAST_SILENCE_MS = 1000;

function chooseSilence(side: Side, text: string | undefined): { silenceMs?: number } {
  if (text === undefined) return {};
  if (!/^\d{1,9}$/.test(text)) {
    throw invalid(
      side,
      'URL has a tcp_user_timeout that is not a whole number of milliseconds.',
      'Write tcp_user_timeout=20000.',
    );
  }
  // libpq's 0 leaves it to the system, which takes a quarter of an hour.
  return text === '0' ? {} : { silenceMs: Math.max(LEAST_SILENCE_MS, Number(text)) };
}

/** Where PostgreSQL puts its Unix socket when nobody says: Debian's and Red Hat's place, else the one of the sources. */
function defaultSocketDirectory(): string {
  return existsSync('/var/run/postgresql') ? '/var/run/postgresql' : '/tmp';
}

function systemUser(side: Side): string {
  try {
    return userInfo().username;
  } catch (cause) {
    // A container may run under a number that no password file knows.
    throw new PgsluiceError({
      code: 'INVALID_URL',
      message: `The ${side} names no user, and the operating system has no name for the current one.`,
      hint: `Name the user: ${EXAMPLE}.`,
      cause,
    });
  }
}

const given = (text: string | undefined): string | undefined => (text === undefined || text === '' ? undefined : text);

/**
 * Turns a URL or separate fields into settings, with libpq's defaults: port 5432, the operating system's user, a
 * database named like the user, sslmode `prefer`; a URL without a host means the Unix socket. Neither PGPASSWORD nor
 * `~/.pgpass` nor any other PG… variable is read: a job holds everything it needs.
 * Throws `INVALID_URL`; no message repeats a part that could be a piece of the password.
 * Source: PostgreSQL documentation 34.1.1.2 and 34.1.2.
 */
export function parseEndpoint(input: EndpointLike, side: Side): ConnectionSettings {
  const url = given(input.url?.trim());
  if (url === undefined && given(input.host) === undefined) {
    throw invalid(side, 'is not given: there is neither a URL nor a host.', `Give a URL such as ${EXAMPLE}.`);
  }
  const parts: Parts = url === undefined ? {} : parseUrl(side, url);
  const host = given(input.host) ?? given(parts.host) ?? defaultSocketDirectory();
  if (host.includes(',')) {
    throw invalid(
      side,
      'names several hosts.',
      'Name one host: a snapshot lives on the server that exported it, so a copy must stay there.',
    );
  }
  // Not shown: it may be a piece of what was meant to be something else.
  if (!isUnixSocket(host) && /[/\\[\]@?#\s\p{Cc}\p{Surrogate}]/u.test(host)) {
    throw invalid(side, 'names a host with a character that no host name has.', `Write it as ${EXAMPLE}.`);
  }
  const port = input.port ?? parts.port ?? DEFAULT_PORT;
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw invalid(side, `has port ${port}.`, 'Use a whole number from 1 to 65535.');
  }
  const user = given(input.user) ?? given(parts.user) ?? systemUser(side);
  const sslmode = chooseSslMode(side, input.sslmode === undefined ? parts : { ...parts, sslmode: input.sslmode });
  const sslrootcert = given(input.sslrootcert) ?? given(parts.sslrootcert) ?? null;
  if (sslrootcert === 'system' && sslmode !== 'verify-full') {
    throw invalid(
      side,
      `has sslrootcert=system with sslmode=${sslmode}; as in libpq, the system's authorities count only with verify-full.`,
      'Use sslmode=verify-full, or give the file of your own authority in sslrootcert.',
    );
  }
  return {
    host,
    port,
    user,
    password: given(input.password) ?? given(parts.password) ?? null,
    database: given(input.database) ?? given(parts.database) ?? user,
    sslmode,
    sslrootcert,
    applicationName: given(parts.applicationName) ?? 'pgsluice',
    connectTimeoutMs: chooseTimeout(side, given(parts.connectTimeout)),
    ...chooseSilence(side, given(parts.silence)),
  };
}

/** True when `host` names a directory of Unix sockets. */
export function isUnixSocket(host: string): boolean {
  return host.startsWith('/') || host.startsWith('@');
}

/** `user@host:port/database`, for people; never the password. */
export function describeSettings(settings: ConnectionSettings): string {
  const host = settings.host.includes(':') ? `[${settings.host}]` : settings.host;
  return `${settings.user}@${host}:${settings.port}/${settings.database}`;
}
