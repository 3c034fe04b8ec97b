import { expect, test } from 'vitest';
import { slotMemory } from './slot-memory.ts';

test('a silence is borne twice as long the next time, until the source gets further', () => {
  expect(slotMemory.silenceMs('a')).toBeNull();
  slotMemory.wasSilent('a', 30_000, 100n);
  expect(slotMemory.silenceMs('a')).toBe(60_000);
  expect(slotMemory.silenceMs('b')).toBeNull();
  slotMemory.came('a', 100n);
  slotMemory.wasSilent('a', 60_000, 0n);
  expect(slotMemory.silenceMs('a')).toBe(120_000);
  slotMemory.came('a', 99n);
  slotMemory.wasSilent('a', 500_000, 0n);
  expect(slotMemory.silenceMs('a')).toBe(600_000);
  slotMemory.came('a', 101n);
  expect(slotMemory.silenceMs('a')).toBeNull();
});

test('a slot whose source failed to stream is asked for whole transactions', () => {
  expect(slotMemory.streams('c')).toBe(true);
  slotMemory.failedToStream('c');
  expect(slotMemory.streams('c')).toBe(false);
  expect(slotMemory.streams('d')).toBe(true);
});
