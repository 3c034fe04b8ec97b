import { expect, it } from 'vitest';
import { TocEndError, majorOfVersion, parseToc, parseTocHeader } from './archive-toc.ts';

const int = (value: number): Buffer => {
  const bytes = Buffer.alloc(5);
  bytes.writeUInt8(value < 0 ? 1 : 0, 0);
  bytes.writeUInt32LE(Math.abs(value), 1);
  return bytes;
};
const text = (value: string | null): Buffer =>
  value === null ? int(-1) : Buffer.concat([int(Buffer.byteLength(value)), Buffer.from(value)]);

/** As pg_dump 15 writes the table of contents of a custom-format file (format 1.14), or 17 (1.16). */
function archive(minor: number, format = 1): Buffer {
  const head = [
    Buffer.from('PGDMP'),
    Buffer.from([1, minor, 0, 4, 8, format]),
    minor >= 15 ? Buffer.from([1]) : int(-1),
    ...[21, 40, 16, 21, 10, 126, 0].map(int),
    ...['shop', '15.18', '17.11 (Debian)'].map(text),
    int(1),
  ];
  const entry = [
    int(7),
    int(1),
    ...['0', '16400', 'odd\nname', 'TABLE DATA'].map(text),
    int(3),
    ...['', '', 'COPY s."odd\nname" (a) FROM stdin;\n', 's', ''].map(text),
    text(null),
    ...(minor >= 16 ? [int(0)] : []),
    ...['owner', 'false', '3', null].map(text),
    ...(format === 1 ? [Buffer.from([2, 0, 1, 0, 0, 0, 0, 0, 0])] : [text('7.dat.gz')]),
  ];
  return Buffer.concat([...head, ...entry]);
}

const decode = (bytes: Buffer): string => bytes.toString('utf8');

it.each([14, 16])('reads the table of contents of format 1.%i', (minor) => {
  const toc = parseToc(archive(minor), decode);
  expect(toc).toMatchObject({ format: `1.${minor}`, database: 'shop', serverVersion: '15.18' });
  expect(toc.createdAt).toBe('2026-11-21 16:40:21');
  expect(toc.entries).toEqual([
    {
      dumpId: 7,
      classOid: 0,
      oid: 16400,
      name: 'odd\nname',
      type: 'TABLE DATA',
      schema: 's',
      owner: 'owner',
      definition: '',
      copyStatement: 'COPY s."odd\nname" (a) FROM stdin;\n',
      hasData: true,
      dependencies: [3],
      file: null,
      offset: 256,
    },
  ]);
  expect(parseToc(archive(minor, 3), decode).entries[0]).toMatchObject({ file: '7.dat.gz', offset: null });
});

it('asks for more bytes wherever it is cut, and takes nothing else for an end', () => {
  const whole = archive(16);
  for (let length = 0; length < whole.length; length += 1) {
    expect(() => parseToc(whole.subarray(0, length), decode)).toThrow(TocEndError);
  }
});

it('names a format that came later, and what is none', () => {
  const newer = archive(16);
  newer[6] = 17;
  expect(() => parseTocHeader(newer)).toThrow(expect.objectContaining({ code: 'ARCHIVE_TOO_NEW' }));
  expect(() => parseTocHeader(Buffer.from('PGCOPY\n\0'))).toThrow(
    expect.objectContaining({ code: 'ARCHIVE_UNREADABLE' }),
  );
});

it('reads majors as servers write them', () => {
  expect(['15.18 (Debian 15.18-0+deb12u1)', '17beta1', '9.6.24', ''].map(majorOfVersion)).toEqual([15, 17, 9, 0]);
});
