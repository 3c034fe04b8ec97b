import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { PgsluiceError } from '../errors.ts';
import type { PauseGate } from '../gate.ts';
import type { Session } from './session.ts';
import type { ConnectionSettings } from './settings.ts';
import { ClientWatch, ServerWatch } from './wire-watch.ts';
import type { CopyMeter } from './wire-watch.ts';
import { LONGEST_REST_MS, Valve } from '../valve.ts';

/** Codes of a first message (PostgreSQL documentation, 55.7): encryption is asked for, or a cancellation. */
const code = { ssl: 80_877_103, gss: 80_877_104, cancel: 80_877_102 } as const;
const MOST_STARTUP_BYTES = 10_000;
/** The number in the socket's name; it has no other meaning. */
const PORT = 5432;

/** The longest path that a socket may have on every system (unix(7): 108 on Linux, 104 on macOS, an ending zero included). */
const MOST_PATH_BYTES = 103;

/** Beginning of the directory's name: in the agent's own directory, which is emptied after a crash, unless its path is too long. */
export function socketRoot(workDir: string): string {
  const own = join(workDir, 'relay-');
  return Buffer.byteLength(`${own}XXXXXX/.s.PGSQL.${PORT}`) <= MOST_PATH_BYTES
    ? own
    : join(tmpdir(), 'pgsluice-relay-');
}

export interface RelayInput {
  /** Directory of the agent for short-lived files. */
  readonly workDir: string;
  /** Of the server behind it. */
  readonly settings: ConnectionSettings;
  /** A session for one more connection of the program; `keep`: it is the caller's own and is not ended with the connection. */
  readonly session: () => Promise<{ readonly session: Session; readonly keep: boolean }>;
  /** Nothing is read from the server while it is shut. */
  readonly gate: PauseGate;
  /** A statement of the program; the answer counts the rows that follow where it is a COPY. */
  readonly onQuery: (sql: string) => CopyMeter | null;
}

/** What a program asks its connection for at the start (PostgreSQL documentation, 55.2.7). */
const PARAMETERS = `
SELECT name, pg_catalog.current_setting(name) AS value FROM pg_catalog.unnest(ARRAY['server_version', 'server_encoding', 'client_encoding',
  'is_superuser', 'session_authorization', 'DateStyle', 'IntervalStyle', 'TimeZone', 'integer_datetimes', 'standard_conforming_strings']) AS name`;

/** A dump is read where these are the database's own, so it is written under them. */
const AS_THE_DATABASE = 'RESET lc_monetary; RESET lc_numeric';

function message(type: string, ...fields: readonly (string | Buffer)[]): Buffer {
  const body = Buffer.concat(fields.map((field) => (typeof field === 'string' ? Buffer.from(`${field}\0`) : field)));
  const head = Buffer.alloc(5);
  head.write(type, 0, 'latin1');
  head.writeUInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

const READY = message('Z', Buffer.from('I'));

/** ErrorResponse that libpq prints as the reason why it could not connect. */
function refusal(text: string): Buffer {
  return message('E', Buffer.from(`SFATAL\0VFATAL\0C08000\0M${text.replaceAll('\0', ' ')}\0\0`));
}

async function greeting(session: Session): Promise<Buffer> {
  const rows = await session.query<{ name: string; value: string }>(PARAMETERS);
  return Buffer.concat([
    message('R', Buffer.alloc(4)),
    ...rows.map(({ name, value }) => message('S', name, value)),
    message('K', Buffer.alloc(8)),
    READY,
  ]);
}

interface LentConnection {
  readonly stream: Duplex;
}

/**
 * Stands in the driver's queue as a query that lasts until the session ends: what the driver is asked for meanwhile waits behind
 * it, and what the server sends goes to the program.
 */
class Loan {
  callback: (() => void) | undefined;
  readonly #client: Socket;
  readonly #gate: PauseGate;
  readonly #onQuery: RelayInput['onQuery'];
  readonly #onOver: (stream: Duplex) => void;
  readonly #fromServer = new ServerWatch();

  constructor(client: Socket, input: RelayInput, onOver: (stream: Duplex) => void) {
    this.#client = client;
    this.#gate = input.gate;
    this.#onQuery = input.onQuery;
    this.#onOver = onOver;
  }

  /** Whether the server owes the program an answer: between its statements it may take as long as it likes. */
  get owes(): boolean {
    return this.#fromServer.owes;
  }

  submit({ stream }: LentConnection): void {
    const client = this.#client;
    const fromServer = this.#fromServer;
    const fromClient = new ClientWatch();
    let over = false;
    let dueTimer: NodeJS.Timeout | null = null;
    const valve = new Valve(stream);
    for (const listener of stream.listeners('data')) stream.removeListener('data', listener as () => void);
    const releaseGate = this.#gate.onChange((paused) => valve.set('paused', paused));
    const untilDue = (wait: number): void => {
      valve.set('rate', wait > 0);
      dueTimer =
        wait > 0 ? setTimeout(() => untilDue(this.#gate.pace.spend(0)), Math.min(wait, LONGEST_REST_MS)) : null;
    };
    const end = (): void => {
      if (over) return;
      over = true;
      releaseGate();
      if (dueTimer !== null) clearTimeout(dueTimer);
      client.destroy();
      // With nobody listening a paused socket would hide the connection's end.
      stream.resume();
      this.#onOver(stream);
    };
    const guarded = (work: () => void): void => {
      try {
        work();
      } catch {
        // Whatever it is that speaks there, it is not the protocol: the program finds its connection cut.
        end();
      }
    };
    stream.on('data', (chunk: Buffer) =>
      guarded(() => {
        if (over) return;
        fromServer.feed(chunk);
        if (!client.write(chunk)) valve.set('full', true);
        const wait = this.#gate.pace.spend(chunk.length);
        if (wait > 0 && !valve.shutBy('rate')) untilDue(wait);
      }),
    );
    client.on('drain', () => valve.set('full', false));
    stream.once('close', end);
    client.once('close', end);
    client.on('data', (chunk: Buffer) =>
      guarded(() => {
        const sent = fromClient.feed(chunk);
        for (const sql of sent.queries) fromServer.expect(this.#onQuery(sql));
        if (sent.forward.length > 0) {
          fromServer.asked();
          stream.write(sent.forward);
        }
        if (sent.over) end();
      }),
    );
    valve.set('paused', this.#gate.paused);
    client.resume();
  }

  // The driver's parser gets nothing to read while the loan lasts.
  handleReadyForQuery(): void {}

  handleError(): void {
    this.#client.destroy();
  }
}

type Submit = (query: { submit(connection: LentConnection): void }) => unknown;

/**
 * Lends sessions of ours to a libpq program over a socket that only this user can reach: the program needs no password, trusts
 * what our sessions trust, stands still while the job is paused, and loses its connections with this process. With a session that
 * is in a transaction already, the program works inside of that. Lifecycle: open → closed.
 */
export class SessionRelay {
  readonly #input: RelayInput;
  readonly #dir: string;
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  readonly #sessions = new Set<Session>();
  #failure: unknown = null;

  private constructor(input: RelayInput, dir: string, server: Server) {
    this.#input = input;
    this.#dir = dir;
    this.#server = server;
    server.on('connection', (client) => {
      this.#clients.add(client);
      client.on('error', () => client.destroy());
      client.once('close', () => this.#clients.delete(client));
      this.#greet(client);
    });
  }

  static async open(input: RelayInput): Promise<SessionRelay> {
    const dir = await mkdtemp(socketRoot(input.workDir));
    try {
      const server = createServer();
      const relay = new SessionRelay(input, dir, server);
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(join(dir, `.s.PGSQL.${PORT}`), resolve);
      });
      return relay;
    } catch (error) {
      await rm(dir, { recursive: true, force: true });
      throw error;
    }
  }

  /** How the program reaches it, for libpqEnvironment. */
  get settings(): ConnectionSettings {
    return { ...this.#input.settings, host: this.#dir, port: PORT, password: null, sslmode: 'disable' };
  }

  /** Why a session could not be had, the first time; null when all could. */
  get failure(): PgsluiceError | null {
    return this.#failure instanceof PgsluiceError ? this.#failure : null;
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      for (const client of this.#clients) client.destroy();
    });
    await Promise.all([...this.#sessions].map((session) => session.close()));
    await rm(this.#dir, { recursive: true, force: true });
  }

  /** Reads the program's first messages; from its StartupMessage on it has a session. */
  #greet(client: Socket): void {
    let data = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      data = Buffer.concat([data, chunk]);
      if (data.length < 8) return;
      const length = data.readUInt32BE(0);
      const asked = data.readUInt32BE(4);
      if (length > MOST_STARTUP_BYTES || asked === code.cancel) {
        // A cancellation needs no answer: what is cancelled ends with its connection.
        client.destroy();
      } else if (asked === code.ssl || asked === code.gss) {
        data = data.subarray(8);
        client.write('N');
      } else if (data.length >= length) {
        client.pause();
        client.removeListener('data', onData);
        this.#lend(client).catch((error: unknown) => {
          this.#failure ??= error;
          const why = error instanceof Error ? error.message : String(error);
          client.end(refusal(why));
        });
      }
    };
    client.on('data', onData);
  }

  async #lend(client: Socket): Promise<void> {
    const { session, keep } = await this.#input.session();
    if (!keep) this.#sessions.add(session);
    try {
      await session.run(AS_THE_DATABASE);
      client.write(await greeting(session));
    } catch (error) {
      if (!keep) await this.#forget(session);
      throw error;
    }
    const loan = new Loan(client, this.#input, (stream) => {
      if (keep) return;
      // Said by us, so that its end waits for nothing.
      stream.end(message('X'));
      void this.#forget(session);
    });
    session.owes(() => loan.owes);
    (session.client.query as unknown as Submit).call(session.client, loan);
  }

  async #forget(session: Session): Promise<void> {
    await session.close();
    this.#sessions.delete(session);
  }
}
