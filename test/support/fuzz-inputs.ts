import type { Chance } from './fuzz.ts';
import * as sent from './pgoutput-messages.ts';

// What is right, and the pieces that make it wrong.

export const columns = [{ name: 'id', type: 23, key: true }, { name: 'a' }, { name: 'b' }];
const changes = (chance: Chance, xid: number | null): Buffer[] => {
  const value = (): sent.Sent => chance.pick(['1', 'x\ty', 'é"\\', null, undefined, '', 'long '.repeat(20)]);
  const oid = chance.pick([1, 1, 1, 2, 3]);
  const values = [String(chance.below(5)), value(), value()];
  const all: readonly [() => Buffer, ...(() => Buffer)[]] = [
    () => sent.insert(oid, values, xid),
    () => sent.update(oid, values, chance.below(2) === 0 ? {} : { old: values }, xid),
    () => sent.remove(oid, 'K', [values[0], null, null], xid),
    () => sent.truncate([oid], 0, xid),
    () => sent.relation(oid, 't', columns, xid),
  ];
  return Array.from({ length: 1 + chance.below(6) }, () => chance.pick(all)());
};
export const transaction = (chance: Chance): Buffer[] => {
  const xid = 1 + chance.below(5);
  const lsn = BigInt(chance.below(1000));
  if (chance.below(3) > 0) return [sent.begin(xid), ...changes(chance, null), sent.commit(lsn, lsn + 1n)];
  const end = chance.pick([
    () => sent.streamCommit(xid, lsn, lsn + 1n),
    () => sent.streamAbort(xid, xid),
    () => sent.streamAbort(xid, 9),
  ]);
  return [
    sent.streamStart(xid, true),
    sent.relation(1, 't', columns, xid),
    ...changes(chance, xid),
    sent.streamStop(),
    end(),
  ];
};

export const urls = [
  'postgres://user:pass@host.example:5432/db?sslmode=require',
  'postgresql://u%40x:p%2Fw@[::1]:6543/d%20b?connect_timeout=3&application_name=x',
  'ecto://user@/db?host=/var/run/postgresql&port=5433',
  'postgres://localhost',
];
export const urlWords = [
  '@',
  ':',
  '/',
  '?',
  '#',
  '&',
  '=',
  '%',
  '%4',
  '%40',
  '%00',
  '%ff',
  '[',
  ']',
  '[::1]',
  '//',
  ' ',
  'é',
  '\ud800',
  'sslmode=',
  'verify-full',
  'host=',
  ',',
  '\n',
  '0',
  '99999',
  'postgres://',
  '\u202e',
];

export const manifest = JSON.stringify({
  format: 1,
  tool: { name: 'pgsluice', version: '0.1.0' },
  createdAt: 'x',
  snapshotAt: 'x',
  source: {
    version: { num: 150000, text: '15.0' },
    database: 'd',
    label: 'h:1/d',
    systemIdentifier: null,
    encoding: 'UTF8',
    localeProvider: 'libc',
    collate: 'C',
    ctype: 'C',
    locale: null,
    icuRules: null,
    collationVersion: null,
    lcMonetary: 'C',
    owner: 'o',
    comment: null,
    settings: [],
  },
  pgDump: { version: '15', major: 15 },
  compression: 'none',
  options: {
    includeSchema: [],
    excludeSchema: [],
    includeTable: [],
    excludeTable: [],
    excludeTableData: [],
    noOwner: false,
    noAcl: false,
    schemaOnly: false,
    dataOnly: false,
  },
  measured: 'full',
  checksums: { method: 'hash', probe: '1' },
  tables: [
    {
      schema: 's',
      name: 't',
      kind: 'table',
      tree: true,
      condition: '',
      rows: 1,
      bytes: 8192,
      checksum: '1',
      columns: [{ name: 'a', type: 'int4', kind: 'b', builtIn: true }],
    },
  ],
  sequences: [{ schema: 's', name: 'q', value: '1', isCalled: true }],
  largeObjects: { count: 0, bytes: 0, checksum: null },
  roles: [],
  extensions: [],
  notMeasured: [],
  files: [{ path: 'toc.dat', bytes: 1, sha256: '0'.repeat(64) }],
});
export const jsonWords = [
  '{',
  '}',
  '[',
  ']',
  '"',
  ':',
  ',',
  'null',
  '-1',
  '1e400',
  '"__proto__":',
  '../',
  '/etc/passwd',
  '\\u0000',
  '{}',
  '[]',
  'true',
  '\\',
  'a/../../b',
  './',
];

const int = (value: number): Buffer =>
  Buffer.concat([
    Buffer.from([value < 0 ? 1 : 0]),
    (() => {
      const b = Buffer.alloc(4);
      b.writeUInt32LE(Math.abs(value));
      return b;
    })(),
  ]);
const str = (value: string | null): Buffer =>
  value === null ? int(-1) : Buffer.concat([int(Buffer.byteLength(value)), Buffer.from(value)]);
export const toc = Buffer.concat([
  Buffer.from('PGDMP'),
  Buffer.from([1, 14, 0, 4, 8, 1]),
  int(0),
  ...[1, 2, 3, 4, 5, 126, 0].map(int),
  str('db'),
  str('15.0'),
  str('15.0'),
  int(2),
  ...[1, 2].flatMap((id) => [
    int(id),
    int(0),
    str('1259'),
    str('16400'),
    str(`t${id}`),
    str('TABLE'),
    int(2),
    str(`CREATE TABLE s.t${id} (a int);\n`),
    str(''),
    str(null),
    str('s'),
    str(''),
    str('heap'),
    str('app'),
    str('false'),
    str('1'),
    str(null),
    Buffer.from([1, 0, 0, 0, 0, 0, 0, 0, 0]),
  ]),
]);

export const sql = `--
-- TOC entry 1 (class 1259 OID 16400)
-- Name: t1; Type: TABLE; Schema: s; Owner: app
--

CREATE TABLE s.t1 (a int DEFAULT 'x;''y', "b;" text);

ALTER TABLE s.t1 OWNER TO app;

-- TOC entry 2 (class 1255 OID 16401)
-- Dependencies: 1
-- Name: f(); Type: FUNCTION; Schema: s; Owner: app
--

CREATE FUNCTION s.f() RETURNS integer LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END;
`;
export const sqlWords = [
  "'",
  '"',
  '$$',
  '$a$',
  '/*',
  '*/',
  '--',
  '\n',
  '\r',
  ';',
  '(',
  ')',
  'BEGIN ATOMIC',
  'END',
  'CASE',
  "E'",
  '\\',
  '\\restrict x\n',
  'CREATE FUNCTION',
  ' ',
  '\u00a0',
  '-- TOC entry 3 (class 0 OID 0)\n',
  '; Type: VIEW; Schema: -; Owner: -',
  'DROP TABLE x;',
  '\u2028',
];
