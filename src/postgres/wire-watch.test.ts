import { expect, test } from 'vitest';
import { ClientWatch, ServerWatch, copiedTable } from './wire-watch.ts';

function message(type: string, body: string): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, 0, 'latin1');
  head.writeUInt32BE(Buffer.byteLength(body) + 4, 1);
  return Buffer.concat([head, Buffer.from(body)]);
}

test('rows of a COPY are counted however the stream is cut', () => {
  const rows = ['1\tone\n', '2\t\n', `3\t${'x'.repeat(300)}\n`];
  const stream = Buffer.concat([
    message('S', 'd\0d\0'),
    message('H', '\0\0\0'),
    ...rows.map((row) => message('d', row)),
    message('c', ''),
    message('C', 'COPY 3\0'),
    message('Z', 'T'),
    message('D', 'd'),
  ]);
  for (const size of [1, 2, 3, 5, 7, 64, stream.length]) {
    const seen: [number, number][] = [];
    const done: [number, number][] = [];
    const watch = new ServerWatch();
    watch.expect({
      advance: (bytes, count) => seen.push([bytes, count]),
      done: (bytes, count) => done.push([bytes, count]),
    });
    for (let at = 0; at < stream.length; at += size) watch.feed(stream.subarray(at, at + size));
    expect(done).toEqual([[rows.join('').length, 3]]);
    expect(seen.at(-1) ?? [0, 3]).toEqual(size === stream.length ? [0, 3] : [rows.join('').length, 3]);
  }
});

test('a COPY that fails is not done', () => {
  const done: number[] = [];
  const watch = new ServerWatch();
  watch.expect({ advance: () => undefined, done: (_, count) => done.push(count) });
  watch.feed(Buffer.concat([message('d', 'a\n'), message('E', 'SERROR\0\0'), message('Z', 'E')]));
  expect(done).toEqual([]);
  expect(() => watch.feed(Buffer.from([0x64, 0, 0, 0, 1]))).toThrow(RangeError);
});

test("a program's messages are passed on whole, its queries are read, its goodbye is kept", () => {
  const stream = Buffer.concat([
    message('Q', 'SELECT 1\0'),
    message('F', 'call'),
    message('Q', 'COPY é\0'),
    message('X', ''),
  ]);
  const watch = new ClientWatch();
  const queries: string[] = [];
  const forward: Buffer[] = [];
  let over = false;
  for (const byte of stream) {
    const sent = watch.feed(Buffer.from([byte]));
    queries.push(...sent.queries);
    forward.push(sent.forward);
    over ||= sent.over;
  }
  expect(queries).toEqual(['SELECT 1', 'COPY é']);
  expect(Buffer.concat(forward)).toEqual(stream.subarray(0, stream.length - 5));
  expect(over).toBe(true);
});

test('the table of a COPY is found in both of its forms', () => {
  expect(copiedTable('COPY public.orders (id, "a b") TO stdout;')).toEqual({ schema: 'public', name: 'orders' });
  expect(copiedTable('COPY "Sh""op"."a.b (c) TO" ("FROM x.y") TO stdout;')).toEqual({
    schema: 'Sh"op',
    name: 'a.b (c) TO',
  });
  // Of a table without columns.
  expect(copiedTable('COPY public.empty  TO stdout;')).toEqual({ schema: 'public', name: 'empty' });
  expect(copiedTable('COPY (SELECT id, "FROM a.b" FROM ext.conf WHERE NOT builtin) TO stdout;')).toEqual({
    schema: 'ext',
    name: 'conf',
  });
  expect(copiedTable('SELECT 1')).toBeNull();
});
