import { expect, test } from 'vitest';
import type { CheckResult } from '../contract/check.ts';
import { withAcceptance } from './acceptance.ts';

const check: CheckResult = {
  id: 'server.locale',
  family: 'server',
  side: 'both',
  outcome: 'warned',
  code: null,
  title: 't',
  found: 'C here, en there',
  remedy: '',
  elapsedMs: 1,
};
const row = {
  jobId: 'j',
  checkId: 'server.locale',
  side: 'both',
  found: 'C here, en there',
  acceptedBy: 'Ada',
  note: 'we sort ourselves',
  acceptedAt: new Date(0),
};

test('an acceptance holds as long as the same check warns of the same', () => {
  expect(withAcceptance(check, [row]).accepted).toEqual({
    by: 'Ada',
    at: '1970-01-01T00:00:00.000Z',
    note: 'we sort ourselves',
  });
  expect(withAcceptance({ ...check, found: 'C here, de there' }, [row]).accepted).toBeNull();
  expect(withAcceptance({ ...check, outcome: 'failed' }, [row]).accepted).toBeNull();
  expect(withAcceptance({ ...check, side: 'target' }, [row]).accepted).toBeNull();
  expect(withAcceptance({ ...check, id: 'server.encoding' }, [row]).accepted).toBeNull();
});
