import { expect, test } from 'vitest';
import { statementOf } from './statement.ts';

test('the statement is found in the words around it', () => {
  expect(statementOf('Run this on the target, then resume: ALTER TABLE "a b"\n  ADD COLUMN c int;')).toEqual({
    before: 'Run this on the target, then resume:',
    statement: 'ALTER TABLE "a b"\n  ADD COLUMN c int;',
    after: '',
  });
  expect(statementOf('Run\nDROP TABLE a; DROP TABLE b;\nand resume the job.')).toMatchObject({
    statement: 'DROP TABLE a; DROP TABLE b;',
    after: 'and resume the job.',
  });
  expect(statementOf('Wait until it is over.')).toBeNull();
});
