import { type Server, type Socket, createServer } from 'node:net';

/** Message of PostgreSQL's protocol (documentation, 55.7); `length` as it is claimed, true when left out. */
export function message(type: string, body: Buffer = Buffer.alloc(0), length = body.length + 4): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, 'latin1');
  head.writeUInt32BE(length >>> 0, 1);
  return Buffer.concat([head, body]);
}

const text = (value: string): Buffer => Buffer.from(`${value}\0`);
const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};
const int16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
};

export const authentication = (code: number, rest: Buffer = Buffer.alloc(0)): Buffer =>
  message('R', Buffer.concat([int32(code), rest]));
export const parameter = (name: string, value: string): Buffer =>
  message('S', Buffer.concat([text(name), text(value)]));
export const ready = message('Z', Buffer.from('I'));
export const complete = (tag: string): Buffer => message('C', text(tag));
export const notice = (words: string): Buffer => message('N', fields('NOTICE', '00000', words));
export const failure = (words: string, state = 'XX000'): Buffer => message('E', fields('ERROR', state, words));

function fields(severity: string, state: string, words: string): Buffer {
  const parts = [`S${severity}`, `V${severity}`, `C${state}`, `M${words}`].map(text);
  return Buffer.concat([...parts, Buffer.from([0])]);
}

export const columns = (names: readonly string[]): Buffer =>
  message(
    'T',
    Buffer.concat([
      int16(names.length),
      // no table; `pid` and `settled` are numbers
      ...names.flatMap((name) => [
        text(name),
        int32(0),
        int16(0),
        int32(/^(pid|settled)$/.test(name) ? 23 : 25),
        int16(-1),
        int32(-1),
        int16(0),
      ]),
    ]),
  );
export const row = (values: readonly string[]): Buffer =>
  message(
    'D',
    Buffer.concat([
      int16(values.length),
      ...values.flatMap((value) => [int32(Buffer.byteLength(value)), Buffer.from(value)]),
    ]),
  );

const PID = 4711;
/** A log-in without a password, whole. */
export const greeting = Buffer.concat([
  authentication(0),
  parameter('server_version', '15.0'),
  parameter('client_encoding', 'UTF8'),
  message('K', Buffer.concat([int32(PID), int32(1)])),
  ready,
]);

/** An honest answer to what every session asks first. */
const settled = (sql: string): Buffer => {
  const names = [...sql.matchAll(/\bas (pid|server|at|settled)\b/g)].map((match) => match[1] ?? '');
  const known: Readonly<Record<string, string>> = {
    pid: String(PID),
    server: '2026-01-01 00:00:00+00',
    at: '2026-01-01 00:00:00+00',
    settled: '20',
  };
  return Buffer.concat([columns(names), row(names.map((name) => known[name] ?? '')), complete('SELECT 1'), ready]);
};

/** Sends pieces as fast as they are read until the connection ends. */
export function flood(socket: Socket, piece: Buffer): void {
  const pieces = Buffer.concat(Array.from({ length: Math.ceil(500_000 / piece.length) }, () => piece));
  const next = (): void => {
    while (!socket.destroyed && socket.writable) if (!socket.write(pieces)) return;
  };
  socket.on('drain', next);
  next();
}

/** What is answered at each step; what is left out is answered as an honest server would. */
export interface Lie {
  /** To SSLRequest; the honest answer here is that there is no TLS. */
  readonly tls?: (socket: Socket) => void;
  readonly startup?: (socket: Socket) => void;
  /** To a password or a SASL message. */
  readonly password?: (socket: Socket, body: Buffer) => void;
  /** To the statement that settles a session. */
  readonly settle?: (socket: Socket) => void;
  /** To every other statement. */
  readonly statement?: (socket: Socket, sql: string) => void;
}

/** A TCP server that speaks PostgreSQL's protocol as it is told to. Counts what its clients sent. */
export class LyingServer {
  lie: Lie = {};
  /** Bodies of password messages, as text. */
  readonly passwords: string[] = [];
  readonly statements: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<LyingServer> {
    const server = createServer();
    const lying = new LyingServer(server);
    server.on('connection', (socket) => lying.#serve(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return lying;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the server does not listen');
    return address.port;
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.#sockets.size;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    // Clients that have seen enough cut the line.
    socket.on('error', () => undefined);
    let held = Buffer.alloc(0);
    let started = false;
    let prepared = '';
    socket.on('data', (chunk) => {
      held = Buffer.concat([held, chunk]);
      for (;;) {
        const head = started ? 1 : 0;
        if (held.length < head + 4) return;
        const end = head + held.readUInt32BE(head);
        if (held.length < end) return;
        const [type, body] = [started ? String.fromCharCode(held[0] ?? 0) : '', held.subarray(head + 4, end)];
        held = held.subarray(end);
        if (!started) started = this.#begin(socket, body);
        else if (type === 'p') {
          this.passwords.push(body.toString('utf8'));
          (this.lie.password ?? ((to) => to.write(greeting)))(socket, body);
        } else if (type === 'Q') this.#answer(socket, body.toString('utf8', 0, body.length - 1));
        else if (type === 'P')
          prepared = body.toString('utf8', body.indexOf(0) + 1, body.indexOf(0, body.indexOf(0) + 1));
        else if (type === 'S') this.#answer(socket, prepared);
      }
    });
  }

  /** True when that was the startup message, and not the question for TLS or a request to cancel. */
  #begin(socket: Socket, body: Buffer): boolean {
    const question = body.readUInt32BE(0);
    if (question === 80_877_102) {
      socket.end();
      return false;
    }
    if (question === 80_877_103) {
      (this.lie.tls ?? ((to) => to.write('N')))(socket);
      return false;
    }
    (this.lie.startup ?? ((to) => to.write(greeting)))(socket);
    return true;
  }

  #answer(socket: Socket, sql: string): void {
    this.statements.push(sql);
    if (/pg_backend_pid\(\) as pid/.test(sql)) {
      (this.lie.settle ?? ((to) => to.write(settled(sql))))(socket);
      return;
    }
    (this.lie.statement ?? ((to) => to.write(Buffer.concat([complete('SELECT 0'), ready]))))(socket, sql);
  }
}
