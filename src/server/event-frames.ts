import type { StreamMessage } from '../contract/event.ts';

export const maxEventsPerFrame = 500;
/** Characters of JSON after which a frame is closed, so that one read of the client stays small. */
export const maxFrameLength = 256 * 1024;

/** Text frames for a batch: one message stands alone as an object, several go as one array in their order. */
export function* toFrames(batch: readonly StreamMessage[]): Generator<string> {
  let parts: string[] = [];
  let length = 0;
  for (const message of batch) {
    const json = JSON.stringify(message);
    if (parts.length > 0 && (parts.length >= maxEventsPerFrame || length + json.length > maxFrameLength)) {
      yield frame(parts);
      parts = [];
      length = 0;
    }
    parts.push(json);
    length += json.length + 1;
  }
  if (parts.length > 0) yield frame(parts);
}

const made = new WeakMap<readonly StreamMessage[], readonly Buffer[]>();

/** The frames of a batch as bytes. Readers at the same place are given the same batch, and share these bytes as well. */
export function framesOf(batch: readonly StreamMessage[]): readonly Buffer[] {
  let frames = made.get(batch);
  if (frames === undefined) {
    frames = [...toFrames(batch)].map((text) => Buffer.from(text));
    made.set(batch, frames);
  }
  return frames;
}

function frame(parts: readonly string[]): string {
  return parts.length === 1 ? (parts[0] ?? '') : `[${parts.join(',')}]`;
}
