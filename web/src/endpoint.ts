import type { EndpointInput, EndpointView, SslMode } from '../../src/contract/options.ts';

/** One server as the form holds it: text as typed, nothing decoded twice. */
export interface EndpointForm {
  readonly host: string;
  readonly port: string;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly sslmode: SslMode;
  readonly sslrootcert: string;
  /** Parameters of the URL that have no field of their own; handed on as they are, the agent judges them. */
  readonly extras: readonly (readonly [name: string, value: string])[];
}

export const emptyEndpoint: EndpointForm = {
  host: '',
  port: '5432',
  user: '',
  password: '',
  database: '',
  sslmode: 'prefer',
  sslrootcert: '',
  extras: [],
};

/** Stands for a password that is set but not shown. */
export const passwordMask = '••••••••';

export const sslModeOptions: readonly { readonly value: SslMode; readonly label: string }[] = [
  { value: 'prefer', label: 'prefer: encrypt if the server can' },
  { value: 'require', label: 'require: always encrypt, verify nothing' },
  { value: 'verify-ca', label: 'verify-ca: encrypt, verify the authority' },
  { value: 'verify-full', label: 'verify-full: encrypt, verify authority and host' },
  { value: 'allow', label: 'allow: plain unless the server insists' },
  { value: 'disable', label: 'disable: never encrypt' },
];

/** Percent-decodes what is valid and leaves the rest: people paste passwords that hold a bare %. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * Reads a PostgreSQL URL the way a person means it: the last @ separates the password from the host, so a password with
 * an unescaped / ? # or @ still arrives whole. Null when the text is no such URL. A masked password stays `password`.
 */
export function parseEndpointUrl(text: string, password: string): EndpointForm | null {
  const scheme = /^\s*(?:postgres|postgresql|ecto):\/\//i.exec(text);
  if (scheme === null) return null;
  const rest = text.slice(scheme[0].length).trim();
  const at = credentialsEnd(rest);
  const credentials = at < 0 ? '' : rest.slice(0, at);
  const [, hostPort = '', path = '', query = ''] = /^([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/.exec(rest.slice(at + 1)) ?? [];
  const [, bracketed, plain = '', port = ''] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d*))?$/.exec(hostPort) ?? [];
  if (hostPort !== '' && bracketed === undefined && plain === '' && port === '') return null;
  const colon = credentials.indexOf(':');
  const given = colon < 0 ? '' : decode(credentials.slice(colon + 1));
  let form: EndpointForm = {
    ...emptyEndpoint,
    host: bracketed ?? decode(plain),
    port: port || '5432',
    user: decode(colon < 0 ? credentials : credentials.slice(0, colon)),
    password: given === passwordMask ? password : given,
    database: decode(path),
  };
  for (const pair of query.split('&')) {
    const equals = pair.indexOf('=');
    if (equals > 0) form = withParameter(form, decode(pair.slice(0, equals)), decode(pair.slice(equals + 1)));
  }
  return form;
}

/** Where user and password end: the last @ before the parameters, unless only a later @ leaves a host at all. */
function credentialsEnd(rest: string): number {
  const query = rest.search(/\?[a-z_]+=/i);
  return rest.lastIndexOf('@', query < 0 ? rest.length : query);
}

function withParameter(form: EndpointForm, name: string, value: string): EndpointForm {
  const mode = sslModeOptions.find((option) => option.value === value)?.value;
  switch (name) {
    case 'sslmode':
      if (mode !== undefined) return { ...form, sslmode: mode };
      break;
    case 'ssl':
      return { ...form, sslmode: value === 'false' || value === '0' ? 'disable' : 'require' };
    case 'sslrootcert':
      return { ...form, sslrootcert: value };
    case 'host':
      return { ...form, host: value };
    case 'port':
      return { ...form, port: value };
    case 'user':
      return { ...form, user: value };
    case 'password':
      return { ...form, password: value };
    case 'dbname':
      return { ...form, database: value };
    default:
      break;
  }
  return { ...form, extras: [...form.extras, [name, value]] };
}

/** The URL of the fields; empty while nothing is filled. `password` is what stands for the password in it. */
export function buildEndpointUrl(form: EndpointForm, password: string): string {
  if (form.host === '' && form.user === '' && form.database === '' && form.password === '') return '';
  const user = encodeURIComponent(form.user);
  const secret =
    form.password === '' ? '' : `:${password === passwordMask ? passwordMask : encodeURIComponent(password)}`;
  const credentials = user === '' && secret === '' ? '' : `${user}${secret}@`;
  const socket = form.host.startsWith('/');
  const host = socket ? '' : form.host.includes(':') ? `[${form.host}]` : form.host;
  const port = form.port === '' || (socket && form.port === '5432') ? '' : `:${form.port}`;
  const parameters: [string, string][] = [];
  if (socket) parameters.push(['host', form.host]);
  if (form.sslmode !== 'prefer') parameters.push(['sslmode', form.sslmode]);
  if (form.sslrootcert !== '') parameters.push(['sslrootcert', form.sslrootcert]);
  for (const [name, value] of form.extras) parameters.push([name, value]);
  const query = parameters.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`).join('&');
  return `postgres://${credentials}${host}${port}/${encodeURIComponent(form.database)}${query === '' ? '' : `?${query}`}`;
}

export type EndpointField = 'host' | 'port' | 'user' | 'database';

/** What is missing or impossible, by field. */
export function endpointProblems(form: EndpointForm): Partial<Record<EndpointField, string>> {
  const problems: Partial<Record<EndpointField, string>> = {};
  if (form.host.trim() === '') problems.host = 'Name the host, or paste a URL above.';
  if (form.user.trim() === '') problems.user = 'Name the user that connects.';
  if (form.database.trim() === '') problems.database = 'Name the database.';
  const port = Number(form.port);
  if (!/^\d{1,5}$/.test(form.port.trim()) || port < 1 || port > 65_535) problems.port = 'A number from 1 to 65535.';
  return problems;
}

/** The form as the API takes it: fields, and a URL only to carry parameters that have no field. */
export function toEndpointInput(form: EndpointForm): EndpointInput {
  return {
    ...(form.extras.length > 0 ? { url: buildEndpointUrl({ ...form, password: '' }, '') } : {}),
    host: form.host.trim(),
    port: Number(form.port),
    user: form.user.trim(),
    database: form.database.trim(),
    sslmode: form.sslmode,
    ...(form.password === '' ? {} : { password: form.password }),
    ...(form.sslrootcert.trim() === '' ? {} : { sslrootcert: form.sslrootcert.trim() }),
  };
}

/** A job's server back in the form; its password never left the agent and has to be typed again. */
export function fromEndpointView(view: EndpointView): EndpointForm {
  return {
    ...emptyEndpoint,
    host: view.host,
    port: String(view.port),
    user: view.user,
    database: view.database,
    sslmode: view.sslmode,
  };
}

/** `host:port/database`, for people. */
export function describeEndpoint(view: EndpointView): string {
  const host = view.host.includes(':') ? `[${view.host}]` : view.host;
  return `${host}:${view.port}/${view.database}`;
}

/** A server, or the archive that stands in its place. */
export function describeSide(
  job: {
    readonly source: EndpointView | null;
    readonly target: EndpointView | null;
    readonly archive: string | null;
  },
  side: 'source' | 'target',
): string {
  const view = job[side];
  return view === null ? (job.archive ?? '') : describeEndpoint(view);
}
