import { lookup as systemLookup, type LookupAddress } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { PgsluiceError } from './errors.ts';
import { canonicalAddress, IpRanges, isPrivateAddress } from './ip-range.ts';

/** One entry of PGSLUICE_ALLOW_HOSTS. */
interface HostRule {
  /** Of a name with * and ?; null for a range of addresses. */
  readonly name: RegExp | null;
  readonly range: IpRanges | null;
  readonly ports: readonly [number, number] | null;
  /**
   * Names something of the agent's own network, so private addresses are meant: a range that is not everything, or a name without a dot,
   * which no foreign name server can answer. Whoever owns a dotted name can point it anywhere.
   */
  readonly own: boolean;
}

export interface ReachRules {
  /** Text of PGSLUICE_ALLOW_HOSTS; null: every host. */
  readonly allow: string | null;
  /** PGSLUICE_DENY_PRIVATE. */
  readonly denyPrivate: boolean;
}

/** As dns.lookup with `all`; another one in tests. */
export type Resolve = (
  host: string,
  done: (error: NodeJS.ErrnoException | null, addresses: readonly LookupAddress[]) => void,
) => void;

const resolveBySystem: Resolve = (host, done) => systemLookup(host, { all: true }, done);

const nameOf = (host: string): string => host.toLowerCase().replace(/\.$/, '');

function invalidRule(entry: string): PgsluiceError {
  return new PgsluiceError({
    code: 'INVALID_ALLOW_HOSTS',
    message: `PGSLUICE_ALLOW_HOSTS holds "${entry}", which names no host.`,
    hint: 'Write names, globs, addresses or ranges, each with or without a port, between commas: db.example.com:5432,*.example.org,10.0.0.0/8,[2001:db8::/32]:5432',
  });
}

function parseRule(entry: string): HostRule {
  // An address of IPv6 has several colons, so its port stands behind brackets.
  const match =
    /^\[([^\]]+)\](?::([\d-]+))?$/.exec(entry) ??
    (entry.split(':').length > 2 ? [entry, entry, undefined] : /^([^:]+)(?::([\d-]+))?$/.exec(entry));
  const host = match?.[1];
  if (host === undefined) throw invalidRule(entry);
  const span = match?.[2] === undefined ? null : /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(match[2]);
  if (match?.[2] !== undefined && span === null) throw invalidRule(entry);
  const first = Number(span?.[1]);
  const last = Number(span?.[2] ?? span?.[1]);
  if (span !== null && (first < 1 || last > 65_535 || first > last)) throw invalidRule(entry);
  const ports = span === null ? null : ([first, last] as const);
  if (host.includes('/') || canonicalAddress(host) !== null) {
    try {
      return { name: null, range: new IpRanges([host]), ports, own: !host.endsWith('/0') };
    } catch (cause) {
      throw Object.assign(invalidRule(entry), { cause });
    }
  }
  const name = nameOf(host);
  if (!/^[\p{L}\p{N}._*?-]+$/u.test(name)) throw invalidRule(entry);
  const pattern = name
    .replace(/[.\\^$|()+[\]{}]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return { name: new RegExp(`^${pattern}$`, 'u'), range: null, ports, own: !/[.*?]/.test(name) };
}

const opens = ({ ports }: HostRule, port: number): boolean => ports === null || (port >= ports[0] && port <= ports[1]);

const hint =
  'Name a server that this agent may reach, or ask whoever runs it to add the host to PGSLUICE_ALLOW_HOSTS (a host of a private network by its address range).';

function notAllowed(host: string, port: number, why: string): PgsluiceError {
  return new PgsluiceError({
    code: 'HOST_NOT_ALLOWED',
    message: `This agent may not reach ${host} at port ${port}: ${why}.`,
    hint,
  });
}

/**
 * Which hosts the jobs of this agent may reach. A name is judged by the very addresses that are dialled, so what it leads to at another
 * moment is of no use to an attacker; every new connection is judged anew.
 */
export class Reach {
  readonly #rules: readonly HostRule[] | null;
  readonly #denyPrivate: boolean;
  readonly #resolve: Resolve;

  /** @throws PgsluiceError INVALID_ALLOW_HOSTS. */
  constructor(rules: ReachRules, resolve: Resolve = resolveBySystem) {
    const entries = rules.allow?.split(',').map((entry) => entry.trim()) ?? [];
    const given = entries.filter((entry) => entry !== '');
    this.#rules = given.length === 0 ? null : given.map(parseRule);
    this.#denyPrivate = rules.denyPrivate;
    this.#resolve = resolve;
  }

  /** True on an agent that several share: then files and sockets of its machine are none of a job's business either. */
  get restricted(): boolean {
    return this.#rules !== null || this.#denyPrivate;
  }

  /** Why `address` may not be dialled for `host`, as it follows a colon; null when it may. */
  #why(host: string, address: string, port: number): string | null {
    if (!this.restricted) return null;
    const name = nameOf(host);
    const matching = this.#rules?.filter(
      (rule) => opens(rule, port) && (rule.name?.test(name) ?? rule.range?.has(address)),
    );
    if (matching !== undefined && matching.length === 0) return 'it is none of the hosts that were allowed';
    if (!this.#denyPrivate || !isPrivateAddress(address) || matching?.some((rule) => rule.own) === true) return null;
    return 'it stands in a private network, or on the machine of the agent';
  }

  /** Judges one address that is about to be dialled, or was. @throws PgsluiceError HOST_NOT_ALLOWED. */
  assertAddress(host: string, address: string, port: number): void {
    const why = this.#why(host, address, port);
    if (why !== null) throw notAllowed(host, port, why);
  }

  /** Says no where it is sure already without asking a name server. @throws PgsluiceError HOST_NOT_ALLOWED. */
  assertNamed(host: string, port: number): void {
    const bare = canonicalAddress(host);
    if (bare !== null) return this.assertAddress(host, bare, port);
    const name = nameOf(host);
    const may = this.#rules?.some(
      (rule) => opens(rule, port) && (rule.range !== null || rule.name?.test(name) === true),
    );
    if (may !== false) return;
    throw notAllowed(host, port, 'it is none of the hosts that were allowed');
  }

  /** Resolves names for net.connect and http.request: gives out only addresses that may be dialled. */
  lookupFor(port: number): LookupFunction {
    return (host, options, done) => {
      this.#resolve(host, (error, found) => {
        // In both forms of the callback an error comes alone.
        if (error !== null) return done(error, []);
        const family = options.family === 4 || options.family === 'IPv4' ? 4 : options.family === 6 ? 6 : 0;
        const wanted = found.filter((entry) => family === 0 || entry.family === family);
        const allowed = wanted.filter(({ address }) => this.#why(host, address, port) === null);
        const [first] = allowed;
        if (first === undefined) {
          const refused = wanted[0];
          const why = refused === undefined ? 'its name leads nowhere' : this.#why(host, refused.address, port);
          return done(notAllowed(host, port, why ?? 'its name leads nowhere'), []);
        }
        if (options.all === true) return done(null, [...allowed]);
        return done(null, first.address, first.family);
      });
    };
  }

  /**
   * An address for a program that would resolve the name itself, once more: it is given this one instead.
   * @throws PgsluiceError HOST_NOT_ALLOWED; what the resolver says.
   */
  async pin(host: string, port: number): Promise<string> {
    const bare = canonicalAddress(host);
    if (bare !== null && isIP(host) !== 0) {
      this.assertAddress(host, bare, port);
      return host;
    }
    return await new Promise((resolve, reject) => {
      this.lookupFor(port)(host, { all: false }, (error, address) => {
        if (error !== null) reject(error);
        else resolve(typeof address === 'string' ? address : (address[0]?.address ?? ''));
      });
    });
  }
}

/** For what is no job's: the agent's own database. */
export const anywhere = new Reach({ allow: null, denyPrivate: false });

let current = anywhere;

/** What jobs of this process may reach. One for the process, so that no way to a connection can forget to ask. */
export const reach = (): Reach => current;

/** Set once, before the first job. */
export function limitReach(limits: Reach): void {
  current = limits;
}
