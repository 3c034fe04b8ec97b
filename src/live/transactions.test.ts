import { mkdtempSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import * as sent from '../../test/support/pgoutput-messages.ts';
import { formatLsn } from '../postgres/lsn.ts';
import { SpoolRoom } from './spool.ts';
import { Assembler, type CommittedTransaction } from './transactions.ts';
import { type Change, UNCHANGED } from './types.ts';

let dir: string;
let spools: SpoolRoom;
let told: (CommittedTransaction | string)[];

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'pgsluice-transactions-'));
  spools = await SpoolRoom.open({
    dir,
    slot: 's',
    onWritten: () => undefined,
    onFailure: (error) => told.push(error.code),
    log: (_level, message) => told.push(message),
  });
  told = [];
});
afterEach(async () => {
  await spools.close();
  await rm(dir, { recursive: true });
});

function assembler(spoolAboveBytes = 1 << 20): Assembler {
  return new Assembler({
    spools,
    spoolAboveBytes,
    onTransaction: (transaction) => told.push(transaction),
    onPosition: (lsn) => told.push(formatLsn(lsn)),
  });
}

/** Each message in a buffer that is written over afterwards, as the driver does. */
function feed(into: Assembler, ...messages: readonly Buffer[]): void {
  for (const message of messages) {
    into.accept(message);
    message.fill(0xff);
  }
}

function only(): CommittedTransaction {
  const [one] = told;
  if (told.length !== 1 || one === undefined || typeof one === 'string') throw new Error(`${told.length} were told`);
  return one;
}

async function changesOf(transaction: CommittedTransaction): Promise<Change[]> {
  const all: Change[] = [];
  for await (const piece of transaction.pieces()) all.push(...piece.map(decoded));
  return all;
}

/** Most rows are decoded only when they are asked for. */
function decoded(change: Change): Change {
  if (change.kind === 'insert') return { kind: 'insert', relation: change.relation, row: change.row };
  if (change.kind !== 'update') return change;
  const { relation, key, old, row } = change;
  return { kind: 'update', relation, key, old, row };
}

const columns = [{ name: 'id', type: 23, key: true }, { name: 'v' }];

test('a transaction is told with all that its messages say', async () => {
  feed(
    assembler(),
    sent.begin(0xffff_fff0),
    sent.origin(),
    sent.type(),
    sent.relation(7, 'täble', columns),
    sent.relation(8, 'r', [{ name: 'a' }], null, '', 'f'),
    sent.insert(7, ['1', 'ü€😀']),
    sent.insert(7, ['2', '']),
    sent.insert(7, ['3', 'null']),
    sent.insert(7, ['4', null]),
    sent.logicalMessage(),
    sent.update(7, ['1', undefined]),
    sent.update(7, ['9', 'x'.repeat(100)], { key: ['1', null] }),
    sent.update(8, ['b'], { old: ['a'] }),
    sent.remove(7, 'K', ['9', null]),
    sent.remove(8, 'O', ['b']),
    sent.truncate([7, 8], 3),
    sent.commit(0x1_0000_0010n, 0x1_0000_0040n),
  );
  const transaction = only();
  expect(transaction).toMatchObject({
    xid: 0xffff_fff0,
    commitLsn: 0x1_0000_0010n,
    endLsn: 0x1_0000_0040n,
    committedAtMs: Date.UTC(2026, 10, 21, 12) + 123.456,
    changeCount: 10,
  });
  const t = {
    oid: 7,
    schema: 'public',
    name: 'täble',
    identity: 'd',
    columns: [
      { name: 'id', typeOid: 23, typeModifier: -1, key: true },
      { name: 'v', typeOid: 25, typeModifier: -1, key: false },
    ],
  };
  const r = {
    oid: 8,
    schema: 'pg_catalog',
    name: 'r',
    identity: 'f',
    columns: [{ name: 'a', typeOid: 25, typeModifier: -1, key: false }],
  };
  const changes = [
    { kind: 'insert', relation: t, row: ['1', 'ü€😀'] },
    { kind: 'insert', relation: t, row: ['2', ''] },
    { kind: 'insert', relation: t, row: ['3', 'null'] },
    { kind: 'insert', relation: t, row: ['4', null] },
    { kind: 'update', relation: t, key: null, old: null, row: ['1', UNCHANGED] },
    { kind: 'update', relation: t, key: ['1', null], old: null, row: ['9', 'x'.repeat(100)] },
    { kind: 'update', relation: r, key: null, old: ['a'], row: ['b'] },
    { kind: 'delete', relation: t, key: ['9', null], old: null },
    { kind: 'delete', relation: r, key: null, old: ['b'] },
    { kind: 'truncate', relations: [t, r], cascade: true, restartIdentity: true },
  ];
  expect([...transaction.held()].flatMap((piece) => piece.map(decoded))).toEqual(changes);
  expect(await changesOf(transaction)).toEqual(changes);
});

test('a transaction without changes is a position, never a transaction', () => {
  feed(assembler(), sent.begin(1), sent.commit(16n, 32n), sent.begin(2), sent.relation(7, 't', columns));
  expect(told).toEqual(['0/20']);
  feed(assembler(), sent.begin(3), sent.origin(), sent.logicalMessage(), sent.commit(48n, 64n));
  expect(told).toEqual(['0/20', '0/40']);
});

test('a streamed transaction of which everything was rolled back is a position', () => {
  feed(
    assembler(),
    sent.streamStart(10, true),
    sent.relation(7, 't', columns, 11),
    sent.insert(7, ['1', 'a'], 11),
    sent.streamStop(),
    sent.streamAbort(10, 11),
    sent.streamCommit(10, 16n, 32n),
  );
  expect(told).toEqual(['0/20']);
});

test.each(['in memory', 'on disk'])(
  'streamed transactions interleave with each other and with whole ones, %s',
  async (where) => {
    const spoolAbove = where === 'in memory' ? 1 << 20 : 40;
    const into = assembler(spoolAbove);
    feed(
      into,
      sent.streamStart(10, true),
      sent.relation(7, 't', columns, 10),
      sent.insert(7, ['1', 'ten'], 10),
      sent.insert(7, ['2', 'sub'], 12),
      sent.streamStop(),
      sent.begin(5),
      sent.relation(7, 't', columns),
      sent.insert(7, ['0', 'five']),
      sent.commit(16n, 32n),
      sent.streamStart(20, true),
      sent.relation(7, 't', columns, 20),
      sent.insert(7, ['3', 'twenty'], 20),
      sent.streamStop(),
      sent.streamStart(10),
      sent.insert(7, ['4', 'ten'], 10),
      sent.insert(7, ['5', 'kept'], 13),
      sent.streamStop(),
      sent.streamAbort(10, 12),
      sent.streamCommit(20, 48n, 64n),
      sent.streamStart(30, true),
      sent.relation(7, 't', columns, 30),
      sent.insert(7, ['6', 'thirty'], 30),
      sent.streamStop(),
      sent.streamAbort(30, 30),
      sent.streamCommit(10, 80n, 96n),
    );
    const rows = await Promise.all(
      told.map(async (one) => {
        if (typeof one === 'string') return one;
        const changes = await changesOf(one);
        expect(one.changeCount).toBe(changes.length);
        expect(one.inMemory).toBe(where === 'on disk' && one.xid !== 5 && one.xid !== 20 ? false : one.spool === null);
        return [one.xid, ...changes.map((change) => (change.kind === 'insert' ? change.row.join(' ') : change.kind))];
      }),
    );
    expect(rows).toEqual([
      [5, '0 five'],
      [20, '3 twenty'],
      [10, '1 ten', '4 ten', '5 kept'],
    ]);
    expect(into.openBytes).toBe(0);
    for (const one of told) if (typeof one !== 'string') await one.release();
    expect(readdirSync(dir)).toEqual([]);
  },
);

const shape = (names: string): sent.SentColumn[] => names.split(',').map((name) => ({ name }));

async function shapesOf(transaction: CommittedTransaction): Promise<string[]> {
  return (await changesOf(transaction)).map((change) =>
    change.kind === 'insert' ? change.relation.columns.map((column) => column.name).join(',') : change.kind,
  );
}

test('a description inside of a streamed transaction holds for it alone until it commits, and is forgotten when it does not', async () => {
  const into = assembler();
  feed(
    into,
    sent.begin(1),
    sent.relation(7, 't', shape('a')),
    sent.insert(7, ['1']),
    sent.commit(16n, 32n),
    sent.streamStart(10, true),
    sent.relation(7, 't', shape('a,b'), 10),
    sent.insert(7, ['1', '2'], 10),
    sent.streamStop(),
    sent.streamStart(20, true),
    sent.relation(7, 't', shape('a,b,c'), 20),
    sent.insert(7, ['1', '2', '3'], 20),
    sent.streamStop(),
    sent.begin(2),
    sent.insert(7, ['1']),
    sent.commit(48n, 64n),
    sent.streamAbort(20, 20),
    sent.begin(3),
    sent.insert(7, ['1']),
    sent.commit(80n, 96n),
    sent.streamCommit(10, 112n, 128n),
    sent.begin(4),
    sent.insert(7, ['1', '2']),
    sent.commit(144n, 160n),
  );
  const shapes = await Promise.all(told.map(async (one) => (typeof one === 'string' ? one : await shapesOf(one))));
  expect(shapes).toEqual([['a'], ['a'], ['a'], ['a,b'], ['a,b']]);
});

test('a description of a rolled back savepoint is forgotten, and a newer one of others outlives a commit', async () => {
  const into = assembler();
  feed(
    into,
    sent.streamStart(10, true),
    sent.relation(7, 't', shape('a'), 10),
    sent.insert(7, ['1'], 10),
    sent.relation(7, 't', shape('a,gone'), 11),
    sent.insert(7, ['1', '2'], 11),
    sent.streamStop(),
    sent.streamAbort(10, 11),
    sent.streamStart(10),
    sent.insert(7, ['1'], 10),
    sent.streamStop(),
    sent.begin(1),
    sent.relation(7, 't', shape('b')),
    sent.insert(7, ['1']),
    sent.commit(16n, 32n),
    sent.streamCommit(10, 48n, 64n),
    sent.begin(2),
    sent.insert(7, ['1']),
    sent.commit(80n, 96n),
  );
  const shapes = await Promise.all(told.map(async (one) => (typeof one === 'string' ? one : await shapesOf(one))));
  expect(shapes).toEqual([['b'], ['a', 'a'], ['b']]);
});

test('within a transaction on disk each change keeps the description that was valid for it', async () => {
  feed(
    assembler(10),
    sent.begin(1),
    sent.relation(7, 't', shape('a')),
    sent.insert(7, ['1']),
    sent.relation(7, 't', shape('a,b')),
    sent.insert(7, ['1', '2']),
    sent.relation(8, 'u', shape('x')),
    sent.truncate([8, 7]),
    sent.relation(7, 't', shape('b')),
    sent.insert(7, ['2']),
    sent.commit(16n, 32n),
  );
  expect(only().inMemory).toBe(false);
  expect(await shapesOf(only())).toEqual(['a', 'a,b', 'truncate', 'b']);
  expect(await shapesOf(only())).toEqual(['a', 'a,b', 'truncate', 'b']);
});

test('pieces of a transaction on disk are bounded in changes and bytes', async () => {
  const into = assembler(1000);
  feed(into, sent.begin(1), sent.relation(7, 't', columns));
  for (let id = 0; id < 5000; id++) feed(into, sent.insert(7, [String(id), 'x']));
  for (let id = 0; id < 30; id++) feed(into, sent.insert(7, [String(id), 'y'.repeat(200_000)]));
  feed(into, sent.commit(16n, 32n));
  const sizes: number[] = [];
  let most = 0;
  for await (const piece of only().pieces()) {
    sizes.push(piece.length);
    most = Math.max(
      most,
      piece.reduce((sum, change) => sum + (change.kind === 'insert' ? String(change.row[1]).length : 0), 0),
    );
  }
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(5030);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(2000);
  expect(most).toBeLessThanOrEqual(1_300_000);
});

test('open transactions take a bounded amount of memory together, the largest goes to disk first', () => {
  const into = assembler(10_000);
  for (let xid = 1; xid <= 50; xid++) {
    feed(
      into,
      sent.streamStart(xid, true),
      sent.relation(7, 't', columns, xid),
      ...Array.from({ length: xid === 3 ? 4 : 1 }, (_, id) => sent.insert(7, [String(id), 'x'.repeat(1000)], xid)),
      sent.streamStop(),
    );
    expect(into.openBytes).toBeLessThanOrEqual(21_100);
  }
  expect(spools.bytes + into.openBytes).toBeGreaterThan(50_000);
});

test.each([
  ['a change outside of a transaction', [sent.relation(7, 't', columns), sent.insert(7, ['1', 'a'])]],
  ['a relation that was never described', [sent.begin(1), sent.insert(7, ['1', 'a'])]],
  ['a commit without its transaction', [sent.commit(16n, 32n)]],
  ['a transaction inside of another one', [sent.begin(1), sent.begin(2)]],
  ['a stop without its start', [sent.streamStop()]],
  ['a commit of what was never streamed', [sent.streamCommit(5, 16n, 32n)]],
  ['a prepared transaction', [Buffer.from('b')]],
  ['an unknown letter', [Buffer.from('?')]],
  ['nothing', [Buffer.alloc(0)]],
  ['a message that is cut', [sent.begin(1).subarray(0, 10)]],
])('%s cannot be read', (_what, messages) => {
  const into = assembler();
  expect(() => feed(into, ...messages)).toThrow(
    expect.objectContaining({ code: 'STREAM_UNREADABLE', retryable: false }),
  );
});

const described = sent.relation(7, 't', columns);
test.each([
  ['too few values', sent.insert(7, ['1'])],
  ['a value in binary form', Buffer.from(sent.insert(7, ['1', 'a']).toString('latin1').replace('t', 'b'), 'latin1')],
  ['a value that is no UTF-8', sent.insert(7, ['1', Buffer.from([0x61, 0xe9, 0x62])])],
  ['more than one row', Buffer.concat([sent.insert(7, ['1', 'a']), Buffer.from('N')])],
  ['half a row', sent.insert(7, ['1', 'a']).subarray(0, 18)],
  ['an unknown kind of row', Buffer.from(sent.insert(7, ['1', 'a']).toString('latin1').replace('N', 'X'), 'latin1')],
])('%s cannot be read, in memory or from disk', async (_what, message) => {
  for (const limit of [1 << 20, 1]) {
    told = [];
    feed(assembler(limit), sent.begin(1), Buffer.from(described), Buffer.from(message), sent.commit(16n, 32n));
    await expect(changesOf(only())).rejects.toMatchObject({ code: 'STREAM_UNREADABLE' });
  }
});

test('a replacement character that was sent is a character like others', () => {
  feed(
    assembler(),
    sent.begin(1),
    Buffer.from(described),
    sent.insert(7, ['1', `\uFFFD${'x'.repeat(100)}\uFFFD`]),
    sent.commit(16n, 32n),
  );
  expect([...only().held()].flat()).toMatchObject([{ row: ['1', `\uFFFD${'x'.repeat(100)}\uFFFD`] }]);
});
