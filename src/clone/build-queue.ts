/** Something that is done to a table once its data is in. */
export interface BuildTask {
  /** What must not be locked twice in ways that conflict: oids of relations. */
  readonly locks: readonly number[];
  /** True when the locks are taken alone (ALTER TABLE); builds of several indexes of one table go side by side. */
  readonly exclusive: boolean;
  /** Larger first. */
  readonly priority: number;
  run(): Promise<void>;
}

interface Hold {
  readonly exclusive: boolean;
  count: number;
}

/**
 * Runs tasks with at most `concurrency` at once, in order of priority, and never two at once that would wait for each other's
 * locks on the target: a waiting ALTER TABLE would hold a worker, and two of them with two tables in opposite order would
 * deadlock. A task that throws stops nothing but ends `idle()` with its error.
 */
export class BuildQueue {
  readonly #concurrency: number;
  readonly #waiting: BuildTask[] = [];
  readonly #held = new Map<number, Hold>();
  readonly #idleWaiters: (() => void)[] = [];
  #running = 0;
  #error: { readonly cause: unknown } | null = null;

  constructor(concurrency: number) {
    this.#concurrency = concurrency;
  }

  add(tasks: readonly BuildTask[]): void {
    for (const task of tasks) this.#waiting.splice(this.#placeOf(task.priority), 0, task);
    this.#next();
  }

  /** Resolves when nothing waits or runs; rejects with the first error a task threw. */
  async idle(): Promise<void> {
    if (this.#running > 0 || (this.#waiting.length > 0 && this.#error === null)) {
      await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
    }
    if (this.#error !== null) throw this.#error.cause;
  }

  /** Behind all of the same priority. Halved, since thousands may wait and each table adds its own. */
  #placeOf(priority: number): number {
    let [low, high] = [0, this.#waiting.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#waiting[middle]?.priority ?? priority) >= priority) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #free(task: BuildTask): boolean {
    return task.locks.every((lock) => {
      const hold = this.#held.get(lock);
      return hold === undefined || (!hold.exclusive && !task.exclusive);
    });
  }

  #next(): void {
    while (this.#running < this.#concurrency && this.#error === null) {
      const at = this.#waiting.findIndex((task) => this.#free(task));
      const [task] = at < 0 ? [] : this.#waiting.splice(at, 1);
      if (task === undefined) break;
      this.#start(task);
    }
    if (this.#running === 0 && (this.#waiting.length === 0 || this.#error !== null)) {
      for (const resolve of this.#idleWaiters.splice(0)) resolve();
    }
  }

  #start(task: BuildTask): void {
    this.#running += 1;
    for (const lock of task.locks) {
      const hold = this.#held.get(lock) ?? { exclusive: task.exclusive, count: 0 };
      hold.count += 1;
      this.#held.set(lock, hold);
    }
    task
      .run()
      .catch((error: unknown) => {
        this.#error ??= { cause: error };
      })
      .finally(() => {
        this.#running -= 1;
        for (const lock of task.locks) {
          const hold = this.#held.get(lock);
          if (hold === undefined) continue;
          hold.count -= 1;
          if (hold.count === 0) this.#held.delete(lock);
        }
        this.#next();
      });
  }
}
