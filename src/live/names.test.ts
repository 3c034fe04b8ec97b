import { expect, test } from 'vitest';
import { advisoryKey, holdingPurpose, jobOfName, publicationName, slotName } from './names.ts';

test('slot and publication are named by the job', () => {
  expect(slotName('abc23')).toBe('pgsluice_abc23');
  expect(publicationName('abc23')).toBe('pgsluice_abc23');
  expect(jobOfName('pgsluice_abc23')).toBe('abc23');
  expect(jobOfName('debezium')).toBeNull();
  expect(jobOfName('pgsluice_')).toBeNull();
  expect(holdingPurpose('fence', 'abc23')).toBe('fence abc23');
});

test('an id that a slot cannot be named by is refused before anything is made', () => {
  for (const id of ['Abc', 'a-b', 'a b', 'x'.repeat(60)]) expect(() => slotName(id)).toThrow(RangeError);
});

test('the advisory lock is one of 64 bits, and another for another job', () => {
  const keys = ['a', 'b', 'c'].map((id) => advisoryKey(slotName(id)));
  expect(new Set(keys).size).toBe(3);
  for (const key of keys) expect(BigInt.asIntN(64, key)).toBe(key);
});
