import { expect, test } from 'vitest';
import { judgeArchiveDisk, judgePlace } from './archive-export.ts';

const GiB = 1024 ** 3;

test('an archive is made only where nothing is and something may be', () => {
  const place = { path: '/backup/shop', taken: false, obstacle: null };
  expect(judgePlace(place).outcome).toBe('passed');
  expect(judgePlace({ ...place, taken: true }).code).toBe('ARCHIVE_EXISTS');
  expect(judgePlace({ ...place, obstacle: 'it does not exist' })).toMatchObject({
    code: 'ARCHIVE_PLACE_UNUSABLE',
    found: 'shop cannot be made in /backup: it does not exist.',
  });
});

test('the disk is held against what the source stores', () => {
  expect(judgeArchiveDisk({ contentBytes: 10 * GiB, freeBytes: 11 * GiB }).outcome).toBe('passed');
  expect(judgeArchiveDisk({ contentBytes: 10 * GiB, freeBytes: 5 * GiB }).outcome).toBe('warned');
  expect(judgeArchiveDisk({ contentBytes: 10 * GiB, freeBytes: GiB / 2 }).code).toBe('DISK_FULL');
});
