import { expect, test } from 'vitest';
import type { JobEvent } from '../contract/event.ts';
import { maxEventsPerFrame, maxFrameLength, framesOf, toFrames } from './event-frames.ts';

const events = (count: number, text = 'x'): JobEvent[] =>
  Array.from({ length: count }, (_, index) => ({
    seq: index + 1,
    at: '2026-01-01T00:00:00.000Z',
    type: 'log',
    level: 'info',
    message: text,
  }));

test('one message is an object, several are an array', () => {
  expect(JSON.parse([...toFrames(events(1))].join(''))).toMatchObject({ seq: 1 });
  expect(JSON.parse([...toFrames(events(2))].join(''))).toHaveLength(2);
  expect([...toFrames([])]).toEqual([]);
});

test('frames stay small and keep the order', () => {
  const frames = [...toFrames(events(1201))];
  expect(frames).toHaveLength(3);
  const parsed = frames.map((frame) => JSON.parse(frame) as JobEvent | JobEvent[]).flat();
  expect(parsed.map((event) => event.seq)).toEqual(events(1201).map((event) => event.seq));
  for (const frame of frames) expect((JSON.parse(frame) as unknown[]).length).toBeLessThanOrEqual(maxEventsPerFrame);
  for (const frame of toFrames(events(50, 'y'.repeat(20_000))))
    expect(frame.length).toBeLessThan(maxFrameLength + 25_000);
});

test('the frames of a batch are made once for all of its readers', () => {
  const batch = events(700, 'é');
  const frames = framesOf(batch);
  expect(frames.map((bytes) => bytes.toString())).toEqual([...toFrames(batch)]);
  expect(framesOf(batch)).toBe(frames);
  expect(framesOf(events(700, 'é'))).not.toBe(frames);
});
