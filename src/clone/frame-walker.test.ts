import { expect, test } from 'vitest';
import { CopyFrameWalker } from './frame-walker.ts';

function frame(type: string, payload: Buffer): Buffer {
  const header = Buffer.alloc(5);
  header.write(type, 0, 'latin1');
  header.writeUInt32BE(payload.length + 4, 1);
  return Buffer.concat([header, payload]);
}

/** mulberry32: a small seeded generator, so that a failure can be repeated. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

test('the same bytes and counts come out, wherever the chunks are cut', () => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1e9);
  const next = random(seed);
  for (let round = 0; round < 200; round += 1) {
    const frames = Array.from({ length: Math.floor(next() * 40) }, () =>
      frame('d', Buffer.alloc(Math.floor(next() * 60), 100)),
    );
    const data = Buffer.concat(frames);
    const end = frame('c', Buffer.alloc(0));
    const wire = Buffer.concat([data, end]);
    const walker = new CopyFrameWalker();
    const out: Buffer[] = [];
    let rest: Buffer | null = null;
    for (let at = 0; at < wire.length;) {
      const size = 1 + Math.floor(next() * 23);
      const chunk = wire.subarray(at, at + size);
      at += size;
      if (rest === null) {
        const walked = walker.walk(Buffer.from(chunk));
        out.push(...walked.forward);
        rest = walked.rest;
      } else rest = Buffer.concat([rest, chunk]);
    }
    expect(Buffer.concat(out).equals(data), `seed ${seed}`).toBe(true);
    expect(rest?.equals(end), `seed ${seed}`).toBe(true);
    expect([walker.frames, walker.bytes, walker.atBoundary], `seed ${seed}`).toEqual([
      frames.length,
      data.length,
      true,
    ]);
  }
});

test('a length that cannot be is refused', () => {
  expect(() => new CopyFrameWalker().walk(Buffer.from([0x64, 0, 0, 0, 3]))).toThrow(RangeError);
});
