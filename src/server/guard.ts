import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Caller as CallerView } from '../contract/access.ts';
import { PgsluiceError } from '../errors.ts';
import type { Access } from '../jobs/access.ts';
import { sameToken, unauthorizedError } from './auth.ts';
import { asked, type Asked, suffices } from './permissions.ts';
import { FailureThrottle } from './throttle.ts';

/** Who asks. `id` of a token or share; `agent` for the agent's own token. */
export interface Caller extends CallerView {
  readonly id: string;
}

const owner: Caller = { id: 'agent', name: "the agent's own token", role: 'admin', job: null };

/** Too many wrong tokens came from this address. */
export class TooManyFailures extends PgsluiceError {
  readonly retryAfterSeconds: number;

  constructor(ms: number) {
    const seconds = Math.max(1, Math.ceil(ms / 1000));
    super({
      code: 'TOO_MANY_FAILURES',
      message: 'Too many wrong tokens came from this address.',
      hint: `Wait ${seconds} s, then ask once more with the right token.`,
      retryable: true,
    });
    this.retryAfterSeconds = seconds;
  }
}

/** Answers that wait before they say no; more than that many at once would be a way to fill the memory. */
const mostWaiting = 200;
/** Refusals that are written into the log of who did what, a minute. */
const mostRefusalsLogged = 60;

export interface GuardOptions {
  /** The agent's own token. */
  readonly token: string;
  readonly access: Pick<Access, 'bearerOf' | 'stillHolding' | 'record'>;
  readonly logger: Logger;
  readonly throttle?: FailureThrottle;
}

/** Decides who a request is from, and whether they may. Holds nothing but counts of failures. */
export class Guard {
  readonly #options: GuardOptions;
  readonly #throttle: FailureThrottle;
  #waiting = 0;
  #logged = { minute: 0, count: 0 };

  constructor(options: GuardOptions) {
    this.#options = options;
    this.#throttle = options.throttle ?? new FailureThrottle();
  }

  /**
   * Who bears this token. A request without one is no guess, and is not counted.
   * @param address canonical (ip-range.ts); empty where there is no network.
   * @throws PgsluiceError UNAUTHORIZED, after a while that grows with the failures of the address; TooManyFailures.
   */
  async callerOf(token: string | null, address: string): Promise<Caller> {
    if (token === null) throw unauthorizedError();
    // Before anything is compared: who has to wait must not learn whether the next guess was right.
    const blocked = this.#throttle.blockedMs(address);
    if (blocked > 0) throw new TooManyFailures(blocked);
    if (sameToken(token, this.#options.token)) return owner;
    const bearer = await this.#options.access.bearerOf(token);
    if (bearer?.kind === 'token') return { id: bearer.id, name: bearer.name, role: bearer.role, job: null };
    if (bearer?.kind === 'share') return { id: bearer.id, name: `share ${bearer.id}`, role: 'share', job: bearer.job };
    const delay = this.#throttle.failed(address);
    await this.#logRefusal(address);
    await this.#hold(delay);
    throw unauthorizedError();
  }

  /** @returns what is asked for. @throws PgsluiceError ROLE_TOO_LOW, SHARE_SHOWS_ONE_JOB. */
  assertMay(caller: Caller, method: string, path: string): Asked {
    const wanted = asked(method, path);
    if (!suffices(caller.role, wanted.needs)) throw caller.role === 'share' ? shareOnly() : roleTooLow(caller, wanted);
    if (caller.role === 'share' && path !== '/api/agent' && (wanted.id === null || decoded(wanted.id) !== caller.job)) {
      throw shareOnly();
    }
    return wanted;
  }

  /** Of callers those whose token or share still holds. */
  async stillHolding(ids: readonly string[]): Promise<ReadonlySet<string>> {
    const others = ids.filter((id) => id !== owner.id);
    return new Set([owner.id, ...(others.length === 0 ? [] : await this.#options.access.stillHolding(others))]);
  }

  async #hold(ms: number): Promise<void> {
    if (ms === 0) return;
    if (this.#waiting >= mostWaiting) throw new TooManyFailures(ms);
    this.#waiting += 1;
    try {
      await sleep(ms, undefined, { ref: false });
    } finally {
      this.#waiting -= 1;
    }
  }

  async #logRefusal(address: string): Promise<void> {
    const minute = Math.floor(Date.now() / 60_000);
    if (this.#logged.minute !== minute) this.#logged = { minute, count: 0 };
    this.#logged.count += 1;
    if (this.#logged.count > mostRefusalsLogged) return;
    const entry = {
      actor: 'nobody',
      actorName: '',
      address,
      action: 'sign-in',
      subject: null,
      status: 401,
      code: 'UNAUTHORIZED',
    };
    try {
      await this.#options.access.record(entry);
    } catch (error) {
      this.#options.logger.error({ err: error }, 'the log of who did what could not be written');
    }
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A broken escape is no id of ours.
    return text;
  }
}

function roleTooLow(caller: Caller, { needs }: Asked): PgsluiceError {
  return new PgsluiceError({
    code: 'ROLE_TOO_LOW',
    message: `This needs a token of role ${needs}; this one has role ${caller.role}.`,
    hint: `Ask an admin of this agent for one: pgsluice token create --role ${needs} --name NAME`,
  });
}

/** Says the same of every other job, whether there is one or not. */
function shareOnly(): PgsluiceError {
  return new PgsluiceError({
    code: 'SHARE_SHOWS_ONE_JOB',
    message: 'This link shows one migration, and nothing else.',
    hint: 'Open the link as it was given to you; for more, ask for a token.',
  });
}
