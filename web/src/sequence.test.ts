import { describe, expect, it } from 'vitest';
import { reconnectDelay, SequenceTracker } from './sequence.ts';

describe('SequenceTracker', () => {
  it('takes each seq once and counts what comes twice', () => {
    const tracker = new SequenceTracker();
    expect([1, 2, 2, 1, 3].map((seq) => tracker.accept(seq))).toEqual(['new', 'new', 'duplicate', 'duplicate', 'new']);
    expect(tracker.seen()).toEqual([1, 2, 3]);
    expect(tracker.duplicates).toBe(2);
  });

  it('refuses what leaves a gap, and takes it once the gap is filled', () => {
    const tracker = new SequenceTracker(10);
    expect(tracker.accept(12)).toBe('gap');
    expect(tracker.last).toBe(10);
    expect(tracker.accept(11)).toBe('new');
    expect(tracker.accept(12)).toBe('new');
  });

  it('passes over a gap that two reconnects did not fill', () => {
    const tracker = new SequenceTracker(10);
    expect(tracker.accept(20)).toBe('gap');
    expect(tracker.accept(20)).toBe('gap');
    expect(tracker.accept(20)).toBe('new');
    expect(tracker.accept(21)).toBe('new');
  });

  it('starts anew where the agent says', () => {
    const tracker = new SequenceTracker(3);
    tracker.restart(500);
    expect(tracker.accept(500)).toBe('new');
  });
});

describe('reconnectDelay', () => {
  it('doubles, is spread, and never exceeds 15 s', () => {
    expect(reconnectDelay(0, 0)).toBe(200);
    expect(reconnectDelay(0, 1)).toBe(400);
    expect(reconnectDelay(3, 1)).toBe(3200);
    expect(reconnectDelay(40, 1)).toBe(15_000);
  });
});
