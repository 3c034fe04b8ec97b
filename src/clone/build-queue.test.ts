import { expect, test } from 'vitest';
import { BuildQueue } from './build-queue.ts';

/** Runs tasks whose ends the test decides, and records what ran side by side. */
function recorder() {
  const running = new Set<string>();
  const together: string[] = [];
  const ends = new Map<string, () => void>();
  const task = (name: string, locks: number[], exclusive: boolean, priority = 0) => ({
    locks,
    exclusive,
    priority,
    run: async () => {
      running.add(name);
      together.push([...running].toSorted().join('+'));
      await new Promise<void>((resolve) => ends.set(name, resolve));
      running.delete(name);
    },
  });
  const end = async (name: string) => {
    ends.get(name)?.();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { running, together, task, end };
}

test('indexes of one table go side by side, ALTER TABLE alone', async () => {
  const { running, task, end } = recorder();
  const queue = new BuildQueue(4);
  queue.add([task('a', [1], false), task('b', [1], false), task('pk', [1], true), task('other', [2], true)]);
  expect([...running].toSorted()).toEqual(['a', 'b', 'other']);
  await end('a');
  expect(running.has('pk')).toBe(false);
  await end('b');
  expect(running.has('pk')).toBe(true);
  await end('pk');
  await end('other');
  await queue.idle();
});

test('tasks that share one of two locks never overlap', async () => {
  const { together, task, end } = recorder();
  const queue = new BuildQueue(2);
  queue.add([task('ab', [1, 2], true), task('ba', [2, 1], true), task('c', [3], true)]);
  await end('ab');
  await end('ba');
  await end('c');
  await queue.idle();
  expect(together.some((names) => names.includes('ab') && names.includes('ba'))).toBe(false);
});

test('an error ends the wait and starts nothing more', async () => {
  const queue = new BuildQueue(1);
  let ran = false;
  queue.add([
    { locks: [], exclusive: false, priority: 2, run: () => Promise.reject(new Error('refused')) },
    { locks: [], exclusive: false, priority: 1, run: async () => void (ran = true) },
  ]);
  await expect(queue.idle()).rejects.toThrow('refused');
  expect(ran).toBe(false);
});
