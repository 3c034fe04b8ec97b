import type { Guardrail } from '../contract/live.ts';
import { type ErrorReport, PgsluiceError, throwIfAborted } from '../errors.ts';
import { chooseFence } from '../live/fence.ts';
import type { FencePlan } from '../live/fence-types.ts';
import { judgeGuardrails, readSourceFacts, readTargetFacts, WriteClock } from '../live/guardrails.ts';
import { openSession, type Session } from '../postgres/session.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import type { Guards, GuardsInput, LivePlace } from './live-rooms-types.ts';

const planEveryMs = 10_000;
/** A server that does not answer a small question within this is as good as away. */
const bounds = `SET statement_timeout = '10s'; SET lock_timeout = '2s'`;

interface Tables {
  readonly at: number;
  readonly names: readonly { readonly schema: string; readonly name: string }[];
  readonly fence: FencePlan | ErrorReport;
}

/** Reads the guardrails again and again, over one session a side that is opened when it is needed. */
export class LiveGuards implements Guards {
  readonly #place: LivePlace;
  readonly #publication: string;
  readonly #purpose: string;
  readonly #clock = new WriteClock();
  readonly #sessions: Record<'source' | 'target', Session | null> = { source: null, target: null };
  #tables: Tables | null = null;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(place: LivePlace, publication: string) {
    this.#place = place;
    this.#purpose = `guardrails ${place.job}`;
    this.#publication = publication;
  }

  /** One reading after the other: they share the sessions. @throws PgsluiceError when a side is not reached. */
  read(input: GuardsInput): Promise<readonly Guardrail[]> {
    const turn = this.#turn.then(() => this.#read(input));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async close(): Promise<void> {
    await Promise.all([this.#sessions.source?.close(), this.#sessions.target?.close()]);
  }

  async #read({ lag, slot, drift }: GuardsInput): Promise<readonly Guardrail[]> {
    throwIfAborted(this.#place.signal);
    const [source, target] = await Promise.all([this.#open('source'), this.#open('target')]);
    const { names, fence } = await this.#plan(source);
    const now = Date.now();
    const tables = 'code' in fence ? [] : fence.tables;
    return judgeGuardrails({
      lag,
      ...(await readSourceFacts(source, this.#purpose, { tables }, this.#clock, now)),
      ...(await readTargetFacts(target, this.#purpose, names)),
      drift,
      fence,
      slot,
      now,
    });
  }

  /** What is published changes seldom, and so does what this role may do. */
  async #plan(source: Session): Promise<Tables> {
    if (this.#tables !== null && Date.now() - this.#tables.at < planEveryMs) return this.#tables;
    const names = await readPublished(source, this.#publication);
    let fence: Tables['fence'];
    try {
      fence = await chooseFence(source, names);
    } catch (error) {
      if (
        !(error instanceof PgsluiceError) ||
        error.retryable ||
        source.lost ||
        sqlStateOf(error) === SQLSTATE.queryCanceled
      )
        throw error;
      fence = error.report();
    }
    this.#tables = { at: Date.now(), names, fence };
    return this.#tables;
  }

  async #open(side: 'source' | 'target'): Promise<Session> {
    const open = this.#sessions[side];
    if (open?.usable === true) return open;
    await open?.close();
    const { signal } = this.#place;
    const session = await openSession(this.#place[side], { signal, side, purpose: this.#purpose, readOnly: true });
    this.#sessions[side] = session;
    await session.run(bounds);
    return session;
  }
}

/** Tables of a publication that names each of its tables. */
export async function readPublished(
  source: Session,
  publication: string,
): Promise<readonly { readonly schema: string; readonly name: string }[]> {
  return await source.query<{ schema: string; name: string }>(
    `SELECT n.nspname::text AS schema, c.relname::text AS name
     FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
     JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE p.pubname = $1 ORDER BY 1, 2`,
    [publication],
  );
}
