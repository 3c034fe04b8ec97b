import { expect, test } from 'vitest';
import { startSql } from './replication.ts';
import { explainReplication } from './replication-errors.ts';

const names = { slot: 'pgsluice_7', publication: 'pgsluice_7' };

test('the stream is asked for in the words of the server', () => {
  expect(startSql({ ...names, streaming: true }, 0x1_0000_00ffn)).toBe(
    `START_REPLICATION SLOT "pgsluice_7" LOGICAL 1/FF (proto_version '2', streaming 'on', publication_names '"pgsluice_7"')`,
  );
  expect(startSql({ slot: 's', publication: `O'Neil "x", y`, streaming: false }, 0n)).toBe(
    `START_REPLICATION SLOT "s" LOGICAL 0/0 (proto_version '1', publication_names '"O''Neil ""x"", y"')`,
  );
});

const serverError = (code: string, message: string, detail?: string): Error =>
  Object.assign(new Error(message), { code, severity: 'ERROR', detail });

test.each([
  ['55006', 'replication slot "pgsluice_7" is active for PID 4711', undefined, false, 'SLOT_ACTIVE', true],
  ['55006', 'Replikations-Slot »pgsluice_7« ist aktiv für PID 4711', undefined, false, 'SLOT_ACTIVE', true],
  ['42704', 'replication slot "pgsluice_7" does not exist', undefined, false, 'SLOT_LOST', false],
  ['42704', 'publication "pgsluice_7" does not exist', undefined, true, 'PUBLICATION_LOST', false],
  [
    '55000',
    'cannot read from logical replication slot "pgsluice_7"',
    'This slot has been invalidated because it exceeded the maximum reserved size.',
    false,
    'SLOT_LOST',
    false,
  ],
  ['55000', 'can no longer get changes from replication slot "pgsluice_7"', undefined, false, 'SLOT_LOST', false],
  ['55000', 'can no longer access replication slot "pgsluice_7"', undefined, false, 'SLOT_LOST', false],
  ['55000', 'logical decoding requires wal_level >= logical', undefined, false, 'SERVER_ERROR', false],
  [
    '58P01',
    'requested WAL segment 000000010000000000000001 has already been removed',
    undefined,
    true,
    'SLOT_LOST',
    false,
  ],
  [
    '53300',
    'number of requested standby connections exceeds max_wal_senders (currently 10)',
    undefined,
    false,
    'TOO_MANY_CONNECTIONS',
    true,
  ],
  ['57P01', 'terminating connection due to administrator command', undefined, true, 'CONNECTION_LOST', true],
] as const)('%s %s', (code, message, detail, started, expected, retryable) => {
  const error = explainReplication(serverError(code, message, detail), { side: 'source' }, names, started);
  expect(error).toMatchObject({ code: expected, retryable });
  expect(error.message.includes('by process 4711')).toBe(expected === 'SLOT_ACTIVE');
});
