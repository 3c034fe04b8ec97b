import PQueue from 'p-queue';

/**
 * Starting a program stops this one while the kernel copies its page tables (fork): tens of ms at some hundred MB of memory. Jobs that
 * begin together start many.
 */
const starts = new PQueue({ concurrency: 1 });
/** Time for everything else after a start, in starts as long as that one. */
const PAUSES = 2;

/**
 * Waits for the turn to start a program, so that between two starts everybody else is served. Start it in the same tick, then call the
 * answer, whatever came of it: the next one has to wait for that.
 */
export function startTurn(): Promise<() => void> {
  return new Promise((resolve, reject) => {
    starts
      .add(
        () =>
          new Promise<void>((release) => {
            const begun = performance.now();
            resolve(() => {
              setTimeout(release, PAUSES * (performance.now() - begun));
            });
          }),
      )
      .catch(reject);
  });
}
