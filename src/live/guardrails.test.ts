import { expect, test } from 'vitest';
import { Guardrail } from '../contract/live.ts';
import { type GuardrailFacts, WriteClock, judgeGuardrails } from './guardrails.ts';

const NOW = 1_800_000_000_000;
const writer = { pid: 7, role: 'app', application: 'web', transaction: '3/1', since: NOW - 9000 };
const calm: GuardrailFacts = {
  lag: { bytes: 1024, seconds: 0.2 },
  writes: [{ ...writer, since: NOW - 100 }],
  prepared: [],
  drift: null,
  targetWriters: [],
  fence: {
    means: 'lock',
    database: 'shop',
    tables: [{ oid: 1, schema: 's', name: 't' }],
    giveUpMs: 500,
    deadlockTimeoutMs: 1000,
    mayAlterDatabase: true,
    ends: 'all',
    limits: [],
  },
  slot: { verdict: 'ok', message: 'The slot keeps 1 MB.', hint: '' },
  now: NOW,
};
const judged = (facts: Partial<GuardrailFacts>, id: string) =>
  judgeGuardrails({ ...calm, ...facts }).find((one) => one.id === id);

test('every guardrail of the contract is judged once, and all are ok when it is calm', () => {
  const guardrails = judgeGuardrails(calm);
  expect(guardrails.map((one) => one.id).toSorted()).toEqual(Guardrail.shape.id.options.toSorted());
  expect(guardrails.map((one) => one.state)).toEqual(guardrails.map(() => 'ok'));
});

test('lag waits by bytes, by seconds and while nothing is connected', () => {
  expect(judged({ lag: { bytes: 17 * 1024 * 1024, seconds: 0 } }, 'lag')).toMatchObject({
    state: 'waits',
    found: 'The target is 17.0 MiB of WAL and 0.0 s behind the source.',
  });
  expect(judged({ lag: { bytes: 1, seconds: 5.1 } }, 'lag')?.state).toBe('waits');
  expect(judged({ lag: null }, 'lag')?.state).toBe('waits');
});

test('a long write is named with the statement that ends it', () => {
  expect(judged({ writes: [writer] }, 'long-writes')).toEqual({
    id: 'long-writes',
    state: 'waits',
    found: 'Transactions on the source have held their write locks for long: process 7 (role app, "web", for 9 s).',
    remedy:
      'Let them end, or end them on the source: SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN (7);',
  });
});

test('a prepared transaction blocks with the statements that finish it', () => {
  const guardrail = judged({ prepared: [{ gid: "it's", owner: 'app', since: NOW - 5000 }] }, 'prepared-transactions');
  expect(guardrail?.state).toBe('blocks');
  expect(guardrail?.remedy).toContain("COMMIT PREPARED 'it''s'; or ROLLBACK PREPARED 'it''s';");
});

test('drift and an impossible fence block with their remedy; a lost slot, too; writers on the target are waited for', () => {
  expect(judged({ drift: { found: 'A column.', remedy: 'ALTER TABLE' } }, 'schema-drift')).toEqual({
    id: 'schema-drift',
    state: 'blocks',
    found: 'A column.',
    remedy: 'ALTER TABLE',
  });
  const fence = { code: 'FENCE_IMPOSSIBLE', message: 'May not lock.', hint: 'GRANT UPDATE', retryable: false };
  expect(judged({ fence }, 'fence')).toMatchObject({ state: 'blocks', found: 'May not lock.', remedy: 'GRANT UPDATE' });
  expect(judged({ slot: { verdict: 'warn', message: 'Much WAL.', hint: 'x' } }, 'slot')?.state).toBe('ok');
  expect(judged({ slot: { verdict: 'lost', message: 'Gone.', hint: 'x' } }, 'slot')?.state).toBe('blocks');
  expect(judged({ targetWriters: [writer] }, 'target-written')?.state).toBe('waits');
});

test('a writer whose age is hidden ages from when it was first seen, until its transaction changes', () => {
  const clock = new WriteClock();
  const hidden = { ...writer, since: null };
  expect(clock.read([hidden], 1000)[0]?.since).toBe(1000);
  expect(clock.read([hidden], 9000)[0]?.since).toBe(1000);
  expect(clock.read([{ ...hidden, transaction: '3/2' }], 9500)[0]?.since).toBe(9500);
  expect(clock.read([], 9600)).toEqual([]);
  expect(clock.read([hidden], 9700)[0]?.since).toBe(9700);
});
