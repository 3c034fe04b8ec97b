import { BlockList, isIP } from 'node:net';

/** The eight 16-bit words of an IPv6 address, which may end in dotted IPv4; the text must be one. */
function wordsOf(address: string): number[] {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const text =
    dotted === null
      ? address
      : `${dotted[1]}${(Number(dotted[2]) * 256 + Number(dotted[3])).toString(16)}:${(Number(dotted[4]) * 256 + Number(dotted[5])).toString(16)}`;
  const [head = '', tail] = text.split('::');
  const parse = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16));
  const before = parse(head);
  const after = tail === undefined ? [] : parse(tail);
  return [...before, ...Array.from({ length: 8 - before.length - after.length }, () => 0), ...after];
}

const dottedOf = (high: number, low: number): string => `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;

/**
 * One spelling for one host: without zone and brackets, and as IPv4 where an IPv6 address only wraps one
 * (`::ffff:10.0.0.1`, RFC 4291, 2.5.5.2). Null where the text is no address. Pure.
 */
export function canonicalAddress(text: string): string | null {
  const bare = text.replace(/^\[(.*)\]$/, '$1').replace(/%.*$/, '');
  const family = isIP(bare);
  if (family === 0) return null;
  if (family === 4) return bare;
  const words = wordsOf(bare.toLowerCase());
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = words;
  const mapped = a === 0 && b === 0 && c === 0 && d === 0 && e === 0 && f === 0xffff;
  return mapped ? dottedOf(g, h) : words.map((word) => word.toString(16)).join(':');
}

/** The IPv4 address that a packet to this IPv6 address may end at: NAT64 (RFC 6052) and 6to4 (RFC 3056); null for others. */
function carried(address: string): string | null {
  const [a, b = 0, c = 0, , , , g = 0, h = 0] = wordsOf(address);
  if (a === 0x64 && b === 0xff9b) return dottedOf(g, h);
  return a === 0x2002 ? dottedOf(b, c) : null;
}

/** A set of addresses, given as `10.0.0.0/8`, `2001:db8::/32` or single addresses. */
export class IpRanges {
  readonly #list = new BlockList();

  /** @throws RangeError for a text that is neither an address nor a range. */
  constructor(ranges: readonly string[]) {
    for (const range of ranges) {
      const match = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(range.trim());
      const given = match?.[1]?.replace(/^\[(.*)\]$/, '$1') ?? '';
      const family = isIP(given);
      const bits = match?.[2] === undefined ? (family === 4 ? 32 : 128) : Number(match[2]);
      if (family === 0 || bits > (family === 4 ? 32 : 128)) throw new RangeError(`"${range}" is no range of addresses`);
      const address = canonicalAddress(given) ?? given;
      if (family === 6 && isIP(address) === 4) {
        if (bits < 96) throw new RangeError(`"${range}" is wider than the IPv4 addresses it wraps`);
        this.#list.addSubnet(address, bits - 96, 'ipv4');
      } else {
        this.#list.addSubnet(address, bits, family === 4 ? 'ipv4' : 'ipv6');
      }
    }
  }

  /** False too for what is no address. */
  has(text: string): boolean {
    const address = canonicalAddress(text);
    return address !== null && this.#list.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6');
  }
}

/**
 * Addresses that are not of the public internet: this machine, private and link-local networks (with the addresses under which clouds
 * hand out credentials), carrier networks, documentation, multicast, reserved (IANA's special-purpose registries, RFC 6890).
 */
const special = new IpRanges([
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
  // Unspecified, loopback, and the deprecated wrapping of IPv4.
  '::/96',
  '64:ff9b:1::/48',
  '100::/64',
  // Teredo and others that carry an address of somebody else.
  '2001::/23',
  '2001:db8::/32',
  '3fff::/20',
  '5f00::/16',
  'fc00::/7',
  'fe80::/10',
  'fec0::/10',
  'ff00::/8',
]);

/** True for an address that is not of the public internet, also behind a translation; true for what is no address. Pure. */
export function isPrivateAddress(text: string): boolean {
  const address = canonicalAddress(text);
  if (address === null) return true;
  if (special.has(address)) return true;
  const inner = isIP(address) === 6 ? carried(address) : null;
  return inner !== null && special.has(inner);
}
