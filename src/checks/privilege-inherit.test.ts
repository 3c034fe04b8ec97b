import { expect, test } from 'vitest';
import { judgeOwnerRights } from './privilege-inherit.ts';

test('owners whose rights are not inherited block, with the statement of that major', () => {
  const rights = [
    { owner: 'app', inherits: false },
    { owner: 'other', inherits: true },
  ];
  expect(judgeOwnerRights('me', 17, rights)).toMatchObject({ outcome: 'failed', code: 'OWNER_NOT_INHERITED' });
  expect(judgeOwnerRights('me', 17, rights).remedy).toContain('GRANT "app" TO "me" WITH INHERIT TRUE;');
  expect(judgeOwnerRights('me', 15, rights).remedy).toContain('ALTER ROLE "me" INHERIT;');
  expect(judgeOwnerRights('me', 15, rights.slice(1)).outcome).toBe('passed');
});
