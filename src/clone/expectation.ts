import type { JobEventBody } from '../contract/event.ts';
import type { Session } from '../postgres/session.ts';
import type { CloneContext } from './context.ts';
import { log } from './context.ts';
import { pathsOf } from './cost-model.ts';
import type { CostEstimate } from './cost-phases.ts';
import type { TableSpent } from './cost-schedule.ts';
import { CostWatch } from './cost-watch.ts';
import { correctionSentence, estimateSentence } from './cost-words.ts';
import { estimateOf, measureRoundTrip, readLargeObjects } from './estimate.ts';
import type { EstimateFacts } from './estimate.ts';

/** What was expected of a copy, and what each of its tables took, by the table's oid. */
export interface Expected {
  readonly estimate: CostEstimate;
  readonly spent: ReadonlyMap<number, TableSpent>;
  /** True once the job was paused, by now: what was measured since then holds the pause as well. */
  wasPaused(): boolean;
}

/** What is asked of the source for an estimate beside its catalogue. */
export type Asked = Pick<EstimateFacts, 'largeObjects'> & { readonly sourceMs: number };

/** What one clone is expected to take: said once, before the target is touched, and corrected while the copy runs. */
export class Expectation {
  readonly #context: Pick<CloneContext, 'options' | 'sourceVersion' | 'gate' | 'emit'>;
  #estimate: CostEstimate | null = null;
  #watch: CostWatch | null = null;
  #copies = 0;
  #paused = false;

  constructor(context: Pick<CloneContext, 'options' | 'sourceVersion' | 'gate' | 'emit'>) {
    this.#context = context;
    context.gate.onChange(() => {
      this.#paused = true;
    });
  }

  async ask(source: Session): Promise<Asked> {
    const sourceMs = await measureRoundTrip(source);
    return { sourceMs, largeObjects: await readLargeObjects(source, this.#context.options) };
  }

  /** Logs the estimate. `targetMs`: how long the target took to answer a statement that does next to nothing. */
  say(
    facts: Pick<EstimateFacts, 'tables' | 'stages' | 'owners' | 'leaves' | 'tableJobs'>,
    asked: Asked,
    targetMs: number,
  ): void {
    const { options, sourceVersion } = this.#context;
    this.#estimate = estimateOf({
      ...facts,
      largeObjects: asked.largeObjects,
      roundTripMs: { source: asked.sourceMs, target: targetMs },
      sourceMajor: sourceVersion.major,
      options,
    });
    log(this.#context, 'info', estimateSentence(this.#estimate));
  }

  /** For the order of the copies; nothing where nothing was estimated. */
  get paths(): { readonly paths?: ReadonlyMap<number, number> } {
    return this.#estimate === null ? {} : { paths: pathsOf(this.#estimate.tables) };
  }

  /** Seconds of all builds of each table, by its oid. */
  get builds(): ReadonlyMap<number, number> {
    return new Map(this.#estimate?.tables.map((cost) => [cost.table.oid, cost.buildSeconds]));
  }

  copyBegins(): void {
    this.#copies += 1;
    this.#watch = this.#estimate === null || this.#copies > 1 ? null : new CostWatch(this.#estimate, Date.now());
  }

  /** Told every event of the copy; a correction worth it goes to the log. */
  look(event: JobEventBody): void {
    if (event.type !== 'metric' || this.#paused) return;
    const correction = this.#watch?.look(event.fraction, Date.now()) ?? null;
    if (correction !== null) log(this.#context, 'info', correctionSentence(correction.before, correction.after));
  }

  /** At the end of a whole copy. One that was tried again took other ways than those that were estimated: nothing is said of it. */
  compared(
    copySeconds: (oid: number) => number,
    builds: ReadonlyMap<number, number>,
  ): { readonly expected?: Expected } {
    const estimate = this.#estimate;
    if (estimate === null || this.#copies > 1) return {};
    const spent = new Map(
      estimate.tables.map(({ table: { oid } }) => [
        oid,
        { copySeconds: copySeconds(oid), buildSeconds: builds.get(oid) ?? 0 },
      ]),
    );
    return { expected: { estimate, spent, wasPaused: () => this.#paused } };
  }
}
