import { expect, test } from 'vitest';
import { PgsluiceError } from '../errors.ts';
import { placeOfHost } from '../postgres/places/places.ts';
import { atPlace } from './check.ts';
import { judgeUnreached } from './connect.ts';
import { judgeReplicationRight } from './live-rights.ts';
import { judgeSlots, judgeWalLevel } from './live-server.ts';
import { judgePlace } from './place.ts';
import { judgePooler } from './pooler.ts';

const rds = placeOfHost('shop.abc.eu-west-1.rds.amazonaws.com');
const neon = placeOfHost('ep-x.eu-central-1.aws.neon.tech');
const plain = placeOfHost('10.0.0.5');

test('a place is named with what it limits, an unknown one costs nothing', () => {
  expect(judgePlace(plain)).toMatchObject({ outcome: 'passed', remedy: '' });
  const known = judgePlace(neon);
  expect(known.outcome).toBe('info');
  expect(known.found).toContain('It runs on Neon: the most one can be there is neon_superuser;');
  expect(known.found).toContain('suspended after 5 minutes');
  expect(judgePlace(placeOfHost('a.vm.elestio.app')).found).toBe('It runs on Elestio.');
});

test('a remedy comes in the words of the place where it has to be done', () => {
  const low = judgeWalLevel('replica', null);
  expect(atPlace(low, plain).remedy).toContain('ALTER SYSTEM SET wal_level = logical;');
  const there = atPlace(low, rds);
  expect(there.remedy).toContain('-- Amazon RDS:\nSet rds.logical_replication = 1');
  expect(there.remedy).not.toContain('ALTER SYSTEM');
  expect(there.remedy).toContain('-- or use --method copy');
  expect(there).not.toHaveProperty('parts');
  expect(there).toMatchObject({ outcome: 'failed', code: 'WAL_LEVEL_TOO_LOW', found: low.found });
});

test('what no place has words for stays beside them', () => {
  const full = atPlace(judgeSlots(2, 2, ['old']), rds).remedy;
  expect(full).toContain(`pg_drop_replication_slot('old')`);
  expect(full).toContain('custom parameter group');
});

test('names stand in the words quoted', () => {
  const error = new PgsluiceError({ code: 'PERMISSION_DENIED', message: 'no.', hint: '' });
  const denied = judgeReplicationRight('a"b', { error, denied: true, noSender: false }, null);
  expect(atPlace(denied, rds).remedy).toContain('GRANT rds_replication TO "a""b";');
});

test('a pooler is left by the way that its place names', () => {
  const signs = { side: 'source', host: 'ep-x-pooler.eu.aws.neon.tech', port: 5432, announcedPid: 9 } as const;
  const verdict = judgePooler({ ...signs, backendPids: [1, 2], otherPid: null, snapshotRefusal: null });
  expect(atPlace(verdict, neon).remedy).toBe('-- Neon:\nUse the direct connection string: the host without "-pooler"');
});

test('a server that was not reached is told by its host, and its words come beside the remedy', () => {
  const timeout = new PgsluiceError({ code: 'CONNECT_TIMEOUT', message: 'no answer.', hint: 'Check the port.' });
  const at = (host: string): string => judgeUnreached(timeout, { host, database: 'shop' }).remedy;
  expect(at('10.0.0.5')).toBe('Check the port.');
  expect(at('a.b.eu-west-1.rds.amazonaws.com')).toMatch(
    /^Check the port\.\n-- Amazon RDS:\nAllow .* VPC security group$/,
  );
  const missing = new PgsluiceError({ code: 'UNKNOWN_DATABASE', message: 'none.', hint: 'Make it.' });
  expect(judgeUnreached(missing, { host: 'x.aivencloud.com', database: 'my shop' }).remedy).toContain(
    'CREATE DATABASE "my shop"; -- as avnadmin',
  );
  const wrong = new PgsluiceError({ code: 'AUTHENTICATION_FAILED', message: 'no.', hint: 'Correct it.' });
  expect(judgeUnreached(wrong, { host: 'x.aivencloud.com', database: 'd' }).remedy).toBe('Correct it.');
});
