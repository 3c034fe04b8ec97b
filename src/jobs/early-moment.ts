import { wantsLive } from '../checks/method.ts';
import type { EarlyMoment } from '../clone/clone.ts';
import type { SourceMoment } from '../clone/source-moment.ts';
import { throwIfAborted } from '../errors.ts';
import { openSession } from '../postgres/session.ts';
import { linked } from './live-work.ts';
import { planConnections } from './plan-connections.ts';
import type { SourceKnown } from './rooms.ts';
import type { RunContext } from './run-job.ts';

/** Fewer than this are for the checks and the application. */
const PLENTY_OF_CONNECTIONS = 12;

/** Share of the source's lock table that pg_dump's locks and ours may come to: a job that is refused must not have filled it. */
const SHARE_OF_LOCKS = 0.75;

/** pg_dump locks what it reads until its end; the snapshot's session locks the tables. */
const LOCK_NEED = `
SELECT (SELECT count(*) + count(*) FILTER (WHERE relkind = 'r') FROM pg_class
        WHERE relkind IN ('r', 'p', 'm', 'v', 'S', 'f') AND oid >= 16384)::int AS locks,
       current_setting('max_locks_per_transaction')::int8
         * (current_setting('max_connections')::int8 + current_setting('max_prepared_transactions')::int8) AS room`;

/**
 * Whether the source may be read while the checks still look at it: the method is not in question, whoever started the job wants it done
 * at once, nothing that could refuse it takes long to answer, and the source has connections to spare. Pure.
 */
export function mayBeginEarly(
  job: Pick<RunContext, 'goal' | 'targetTouched' | 'options'>,
  known: Pick<SourceKnown, 'connectionsAvailable'>,
): boolean {
  const { goal, options, targetTouched } = job;
  return (
    goal === 'migrate' &&
    !wantsLive(options) &&
    options.gentle !== true &&
    !options.dataOnly &&
    !targetTouched &&
    options.hooks.every((hook) => hook.on !== 'after-validate') &&
    known.connectionsAvailable >= PLENTY_OF_CONNECTIONS
  );
}

type EarlyContext = Pick<
  RunContext,
  'id' | 'source' | 'options' | 'goal' | 'targetTouched' | 'workDir' | 'signal' | 'emit'
> & { readonly rooms: Pick<RunContext['rooms'], 'takeMoment'> };

/**
 * Snapshot and dump of the source beside the checks, which take about as long where there are many objects. Nothing but readers' locks is
 * taken there, as later; whatever fails is done again in its own time, and told then. Lifecycle: `begin`, then `take` by the clone, and
 * `drop` in any case: it ends what nobody has taken.
 */
export class EarlySource implements EarlyMoment {
  readonly #context: EarlyContext;
  #going: { readonly moment: Promise<SourceMoment | null>; stop(): void } | null = null;

  constructor(context: EarlyContext) {
    this.#context = context;
  }

  begin(known: SourceKnown): void {
    const context = this.#context;
    if (this.#going !== null || !mayBeginEarly(context, known)) return;
    const link = linked(context.signal);
    const { signal } = link.controller;
    this.#going = {
      // What went wrong is met again by whoever does it in its own time, and told then.
      moment: this.#moment(known, signal).catch(() => null),
      stop: () => {
        link.controller.abort(new Error('the moment of the source is not needed'));
        link.release();
      },
    };
  }

  async take(): Promise<SourceMoment | null> {
    const going = this.#going;
    const moment = (await going?.moment) ?? null;
    throwIfAborted(this.#context.signal);
    this.#going = null;
    if (moment === null || moment.snapshot.alive) return moment;
    await moment.snapshot.close();
    return null;
  }

  async drop(): Promise<void> {
    const going = this.#going;
    this.#going = null;
    if (going === null) return;
    going.stop();
    await (await going.moment)?.snapshot.close();
  }

  async #moment(known: SourceKnown, signal: AbortSignal): Promise<SourceMoment | null> {
    const { rooms, id, options, workDir } = this.#context;
    const source = { ...this.#context.source, job: id };
    const session = await openSession(source, { signal, side: 'source', purpose: 'catalogue', readOnly: true });
    try {
      const [row] = await session.query<{ locks: number; room: string }>(LOCK_NEED);
      if (row === undefined || row.locks > SHARE_OF_LOCKS * Number(row.room)) return null;
    } finally {
      await session.close();
    }
    const { connectionsAvailable: available } = known;
    return await rooms.takeMoment({
      source,
      sourceVersion: known.version,
      options,
      tools: known.tools,
      workDir,
      signal,
      emit: (event) => this.#context.emit(event),
      connections: { source: planConnections({ source: available, target: available }, options).source },
    });
  }
}
