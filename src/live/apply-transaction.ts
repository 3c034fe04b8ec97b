import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { PgsluiceError } from '../errors.ts';
import type { Session } from '../postgres/session.ts';

/** Bytes of parameters that may be under way to the server without an answer. */
const UNANSWERED_BYTES = 16 * 1024 * 1024;
/** Statements that may be under way; each holds a promise and its result. */
const UNANSWERED_STATEMENTS = 2000;
/** Bytes, and statements, after which the socket and everything else of this process have their turn. */
const BREATH_BYTES = 256 * 1024;
const BREATH_STATEMENTS = 200;
/** Prepared statements that one session keeps; further ones are parsed each time. */
const PREPARED = 1000;

/** What is looked at of an answer. */
export type Answer = Pick<pg.QueryResult, 'command' | 'rowCount'>;

export interface Expectation {
  /** Throws when the answer is not what was expected. */
  readonly check: (result: Answer) => void;
  /** What an error of the server means here; left out: itself. */
  readonly explain?: (error: unknown) => unknown;
}

function* encoded(pieces: Iterable<string | Buffer>, onTaken: () => void): Generator<Buffer> {
  for (const piece of pieces) {
    onTaken();
    yield typeof piece === 'string' ? Buffer.from(piece, 'utf8') : piece;
  }
}

/** Names for statements that a session prepares on their first use. */
export class PreparedNames {
  readonly #names = new Map<string, string>();
  readonly #generation: number;
  #made = 0;

  /** Names of different generations are never the same. */
  constructor(generation: number) {
    this.#generation = generation;
  }

  of(text: string): string | undefined {
    const known = this.#names.get(text);
    if (known !== undefined) return known;
    if (this.#made >= PREPARED) return undefined;
    this.#made += 1;
    const name = `pgsluice_${this.#generation}_${this.#made}`;
    this.#names.set(text, name);
    return name;
  }
}

/**
 * One transaction on a pipelining session: statements are sent without waiting for the answers before them, and no answer is left
 * unread. Lifecycle: begun → committed | rolled back, by {@link commit} or {@link rollback}.
 */
export class TargetTransaction {
  readonly #session: Session;
  readonly #names: PreparedNames;
  #unanswered = 0;
  #unansweredBytes = 0;
  #failure: { readonly error: unknown } | null = null;
  #begun = false;
  #wake: (() => void) | null = null;
  #sinceBreathBytes = 0;
  #sinceBreath = 0;
  #lastAnswerAt = Date.now();

  private constructor(session: Session, names: PreparedNames) {
    this.#session = session;
    this.#names = names;
  }

  /**
   * Its answer is not waited for here, but by `begun`, and nothing of the transaction may be sent before: when a
   * BEGIN fails (cancelled by an administrator, say), every statement behind it would be a transaction of its own.
   */
  static begin(session: Session, names: PreparedNames): TargetTransaction {
    const transaction = new TargetTransaction(session, names);
    transaction.#track(session.client.query('BEGIN; SET CONSTRAINTS ALL DEFERRED'), 0, {
      check: () => {
        transaction.#begun = true;
      },
    });
    return transaction;
  }

  /** ms since 1970 of the last sign of life while an answer is waited for; null when none is. */
  get waitsSince(): number | null {
    return this.#unanswered === 0 ? null : this.#lastAnswerAt;
  }

  /**
   * Sends a statement. `bytes` of its parameters, roughly. An answer that is not as expected fails the transaction like an error of
   * the server. A statement after a failure is not sent.
   */
  send(text: string, values: readonly (string | null)[], bytes: number, expected: Expectation): void {
    if (this.#failure !== null) return;
    const name = this.#names.of(text);
    const query = { text, values: [...values], ...(name === undefined ? {} : { name }) };
    this.#track(this.#session.client.query(query), bytes, expected);
  }

  /**
   * Runs `COPY … FROM STDIN` with `pieces` as its data, once everything sent before has been answered. `expected.check` is given the
   * rows that the server stored.
   * @throws the first failure.
   */
  async copy(text: string, pieces: Iterable<string | Buffer>, expected: Expectation): Promise<void> {
    await this.settled();
    this.#track(this.#copyIn(text, pieces), 0, expected);
    await this.settled();
  }

  /** The driver refuses COPY on a session that pipelines, since nothing may be sent behind it; here nothing is. */
  async #copyIn(text: string, pieces: Iterable<string | Buffer>): Promise<Answer> {
    const { client } = this.#session;
    Reflect.set(client, 'pipeline', false);
    try {
      const writer = client.query(copyFrom(text));
      // Nothing is answered before the end, but a line that takes the next piece lives.
      const taken = encoded(pieces, () => this.#live());
      await pipeline(Readable.from(taken, { objectMode: false, highWaterMark: BREATH_BYTES }), writer);
      return { command: 'COPY', rowCount: writer.rowCount };
    } finally {
      Reflect.set(client, 'pipeline', true);
    }
  }

  #live(): void {
    this.#lastAnswerAt = Date.now();
  }

  /**
   * Runs statements of somebody else on the session, as part of what is waited for: `waitsSince` covers them. Their error is theirs,
   * and does not fail the transaction here.
   */
  async watched<T>(work: () => Promise<T>): Promise<T> {
    if (this.#unanswered === 0) this.#live();
    this.#unanswered += 1;
    try {
      return await work();
    } finally {
      this.#answered(0);
    }
  }

  #track(answer: Promise<Answer>, bytes: number, expected: Expectation): void {
    if (this.#unanswered === 0) this.#live();
    this.#unanswered += 1;
    this.#unansweredBytes += bytes;
    this.#sinceBreathBytes += bytes;
    this.#sinceBreath += 1;
    const fail = (error: unknown): void => {
      // The first one is the cause; the others only say that the transaction has failed.
      this.#failure ??= { error };
    };
    answer
      .then(expected.check, (error: unknown) => fail(expected.explain === undefined ? error : expected.explain(error)))
      .catch(fail)
      .finally(() => this.#answered(bytes));
  }

  #answered(bytes: number): void {
    this.#unanswered -= 1;
    this.#unansweredBytes -= bytes;
    this.#live();
    this.#wake?.();
  }

  async #until(enough: () => boolean): Promise<void> {
    while (!enough()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }

  #throwFailure(): void {
    if (this.#failure !== null) throw this.#failure.error;
  }

  /** Waits until little enough is under way. @throws the first failure, once known. */
  async room(): Promise<void> {
    this.#throwFailure();
    const little = (): boolean =>
      this.#failure !== null || (this.#unansweredBytes < UNANSWERED_BYTES && this.#unanswered < UNANSWERED_STATEMENTS);
    await this.#until(little);
    this.#throwFailure();
    if (this.#sinceBreathBytes < BREATH_BYTES && this.#sinceBreath < BREATH_STATEMENTS) return;
    this.#sinceBreathBytes = 0;
    this.#sinceBreath = 0;
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** True when everything sent has been answered: the target has nothing to do. */
  get idle(): boolean {
    return this.#unanswered === 0;
  }

  /** Waits for the answer to BEGIN. @throws the first failure. */
  async begun(): Promise<void> {
    await this.#until(() => this.#begun || this.#failure !== null);
    this.#throwFailure();
  }

  /** Waits for every answer. @throws the first failure. */
  async settled(): Promise<void> {
    await this.#until(() => this.#unanswered === 0);
    this.#throwFailure();
  }

  /**
   * Resolves when the transaction is durable. COMMIT of a transaction in which something failed resolves too, with command
   * ROLLBACK: that is a failure here.
   */
  async commit(): Promise<void> {
    if (this.#failure === null) {
      this.#track(this.#session.client.query('COMMIT'), 0, {
        check: (result) => {
          if (result.command === 'COMMIT') return;
          throw new PgsluiceError({
            code: 'TARGET_ROLLED_BACK',
            message: `The target answered COMMIT with ${result.command}: nothing of the batch was stored.`,
            hint: 'Start the job again; it goes on from what is stored.',
            retryable: true,
          });
        },
      });
    }
    await this.settled();
  }

  /** Ends the transaction with nothing stored, once everything under way has been answered. @throws when the connection is lost. */
  async rollback(): Promise<void> {
    await this.#until(() => this.#unanswered === 0);
    await this.watched(() => this.#session.run('ROLLBACK'));
  }
}
