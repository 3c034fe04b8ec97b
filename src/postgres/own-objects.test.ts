import { expect, test } from 'vitest';
import { isOwnObject } from './own-objects.ts';

const entry = (type: string, name: string, schema: string | null = null): Parameters<typeof isOwnObject>[0] => ({
  type,
  name,
  schema,
});

test.each([
  entry('PUBLICATION', 'pgsluice_01k8'),
  entry('PUBLICATION TABLE', 'pgsluice_01k8 orders', 'shop'),
  entry('PUBLICATION TABLES IN SCHEMA', 'pgsluice_01k8 shop', 'shop'),
  entry('COMMENT', 'PUBLICATION pgsluice_01k8'),
  entry('SCHEMA', 'pgsluice_live'),
  entry('ACL', 'SCHEMA pgsluice_live'),
  entry('TABLE', 'progress', 'pgsluice_live'),
  entry('CONSTRAINT', 'progress progress_pkey', 'pgsluice_live'),
])('$type $name belongs to a job', (own) => {
  expect(isOwnObject(own)).toBe(true);
});

test.each([
  entry('PUBLICATION', 'reporting'),
  entry('PUBLICATION', 'my_pgsluice_copy'),
  // A person's publication of a table that is named like one of ours.
  entry('PUBLICATION TABLE', 'reporting pgsluice_numbers', 'shop'),
  entry('TABLE', 'pgsluice_numbers', 'public'),
  entry('SCHEMA', 'pgsluice'),
  entry('SCHEMA', 'pgsluice_live2'),
  entry('COMMENT', 'PUBLICATION reporting'),
  entry('COMMENT', 'SCHEMA pgsluice_live2'),
  entry('ACL', 'TABLE pgsluice_numbers', 'public'),
])("$type $name is a person's", (foreign) => {
  expect(isOwnObject(foreign)).toBe(false);
});
