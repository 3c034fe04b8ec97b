import { expect, it } from 'vitest';
import { BlockError, BlockReader, countLines } from './import-archive-blocks.ts';

const output = [
  '--\n-- PostgreSQL database dump\n--\n\nSET x = 1;\n\n',
  'COPY s.a (x) FROM stdin;\n1\\\\.\n\\\\.\n2\n\\.\n\n\n--\n',
  'COPY s.empty  FROM stdin;\n\\.\n\n',
  'COPY s."odd\nname" (x) FROM stdin;\nCOPY s.b (x) FROM stdin;\n\n\n\\.\n\n',
  'COPY s.b (x) FROM stdin;\nlast\n\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n',
].join('');

async function* cut(text: string, size: number): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) yield await Promise.resolve(bytes.subarray(at, at + size));
}

async function rows(reader: BlockReader, statement: string): Promise<string> {
  const found: Buffer[] = [];
  for await (const chunk of reader.block(statement)) found.push(Buffer.from(chunk));
  return Buffer.concat(found).toString();
}

it.each([1, 2, 3, 5, 7, 64, 4096])('finds the rows of every table in pieces of %i bytes', async (size) => {
  const reader = new BlockReader(cut(output, size));
  expect(await rows(reader, 'COPY s.a (x) FROM stdin;\n')).toBe('1\\\\.\n\\\\.\n2\n');
  expect(await rows(reader, 'COPY s.empty  FROM stdin;\n')).toBe('');
  expect(await rows(reader, 'COPY s."odd\nname" (x) FROM stdin;\n')).toBe('COPY s.b (x) FROM stdin;\n\n\n');
  expect(await rows(reader, 'COPY s.b (x) FROM stdin;\n')).toBe('last\n');
});

it.each([1, 4, 4096])('passes over what was not read, in pieces of %i bytes', async (size) => {
  const reader = new BlockReader(cut(output, size));
  const first = reader.block('COPY s."odd\nname" (x) FROM stdin;\n');
  await first.next();
  await first.return(undefined);
  expect(await rows(reader, 'COPY s.b (x) FROM stdin;\n')).toBe('last\n');
});

it('takes no end of the output for the end of a table', async () => {
  const whole = Buffer.from(output);
  const start = output.indexOf('COPY s.b (x) FROM stdin;\nlast');
  const from = Buffer.byteLength(output.slice(0, start));
  const end = from + 'COPY s.b (x) FROM stdin;\nlast\n\\.\n'.length;
  for (let length = from; length < end; length += 1) {
    const reader = new BlockReader(cut(whole.subarray(0, length).toString(), 16));
    await rows(reader, 'COPY s."odd\nname" (x) FROM stdin;\n');
    await expect(rows(reader, 'COPY s.b (x) FROM stdin;\n')).rejects.toThrow(BlockError);
  }
});

it('counts rows', () => {
  expect(countLines(Buffer.from(''))).toBe(0);
  expect(countLines(Buffer.from('a\n\nb\n'))).toBe(3);
});
