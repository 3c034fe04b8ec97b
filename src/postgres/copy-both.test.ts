import { expect, test } from 'vitest';
import { Messages } from './copy-both.ts';

const message = (type: string, body: string): Buffer => {
  const bytes = Buffer.alloc(5 + Buffer.byteLength(body));
  bytes.write(type, 0);
  bytes.writeUInt32BE(4 + Buffer.byteLength(body), 1);
  bytes.write(body, 5);
  return bytes;
};

const sent: readonly (readonly [string, string])[] = [
  ['d', 'one'],
  ['d', ''],
  ['N', 'a notice'],
  ['d', 'x'.repeat(3000)],
  ['S', ''],
  ['d', 'three'],
  ['c', ''],
  ['C', 'COPY 3'],
];
const wire = Buffer.concat(sent.map(([type, body]) => message(type, body)));

function split(chunks: Iterable<Buffer>): (readonly [string, string])[] {
  const found: (readonly [string, string])[] = [];
  const messages = new Messages(
    (bytes, start, end) => found.push(['d', bytes.toString('latin1', start, end)]),
    (other) => found.push([other.toString('latin1', 0, 1), other.toString('latin1', 5)]),
  );
  for (const chunk of chunks) {
    messages.read(chunk);
    // A socket uses its buffer again.
    chunk.fill(0x21);
  }
  return found;
}

test('messages come whole and in order, wherever the network cuts them', () => {
  for (const size of [1, 2, 3, 4, 5, 6, 7, 11, 64, 1000, wire.length]) {
    const chunks: Buffer[] = [];
    for (let at = 0; at < wire.length; at += size) chunks.push(Buffer.from(wire.subarray(at, at + size)));
    expect(split(chunks), `cut into pieces of ${size}`).toEqual(sent);
  }
});

test('a length that no message has is refused', () => {
  expect(() => split([Buffer.from([0x64, 0, 0, 0, 3])])).toThrow(RangeError);
});
