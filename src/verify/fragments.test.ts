import { expect, test } from 'vitest';
import { differingFragments, equalButFor, equalButForOrder } from './fragments.ts';
import type { Fragment } from './fragments.ts';
import { twinOf } from './reparse.ts';

const relation = { name: 't', quoted: 's.t', quotedSchema: 's', kind: 'r' };
function fragment(part: Partial<Fragment>): Fragment {
  return { kind: 'check', label: 'c', text: 'CHECK (a)', relation, detail: '', ...part };
}

test('a fragment that one side lacks is no difference in printing', () => {
  expect(differingFragments([fragment({})], [])).toBeNull();
  expect(differingFragments([fragment({})], [fragment({ label: 'd' })])).toBeNull();
  expect(differingFragments([fragment({})], [fragment({})])).toEqual([]);
});

test('entries are equal but for fragments only when all else is equal', () => {
  const pair = { source: fragment({ text: 'CHECK (a)' }), target: fragment({ text: 'CHECK ((a))' }) };
  expect(equalButFor('T CHECK (a) NOT NULL', 'T CHECK ((a)) NOT NULL', [pair])).toEqual([pair]);
  expect(equalButFor('T CHECK (a) NOT NULL', 'T CHECK ((a))', [pair])).toBeNull();
  // Two constraints with the same condition, and one that pg_dump writes elsewhere.
  const twice = [pair, { source: fragment({ label: 'd' }), target: fragment({ label: 'd', text: 'CHECK ((a))' }) }];
  const elsewhere = { source: fragment({ text: 'CHECK (z)' }), target: fragment({ text: 'CHECK ((z))' }) };
  expect(equalButFor('CHECK (a), CHECK (a)', 'CHECK ((a)), CHECK ((a))', [...twice, elsewhere])).toEqual(twice);
  expect(equalButFor('CHECK (a), CHECK (a)', 'CHECK ((a))', twice)).toBeNull();
});

test('no default is a default of NULL, and is looked for as a default only', () => {
  const stored = fragment({ kind: 'default', label: 'a', text: 'NULL::text' });
  const pairs = differingFragments([], [stored]) ?? [];
  expect(pairs.map((pair) => pair.source.text)).toEqual(['NULL']);
  expect(equalButFor('a DEFAULT NULL, b NOT NULL', 'a DEFAULT NULL::text, b NOT NULL', pairs)).toEqual(pairs);
  expect(equalButFor('a text, b NOT NULL', 'a text DEFAULT NULL::text, b NOT NULL', pairs)).toBeNull();
});

test('the order of columns can be left out of account', () => {
  expect(equalButForOrder('(\n    a int,\n    b text\n);', '(\n    b text,\n    a int\n);')).toBe(true);
  expect(equalButForOrder('(\n    a int,\n    b text\n);', '(\n    b text\n);')).toBe(false);
});

test('a twin takes the place of the relation a statement is about, not of a name that looks like it', () => {
  const index = fragment({ kind: 'index', text: 'CREATE INDEX "x ON s.t y" ON ONLY s.t USING btree (a) WHERE (b)' });
  const twin = twinOf(index);
  expect(twin?.statements).toEqual([
    'CREATE TEMP TABLE "t" (LIKE s.t)',
    'CREATE INDEX "x ON s.t y" ON pg_temp.t USING btree (a) WHERE (b)',
  ]);
  expect(twin?.restore?.('CREATE INDEX "x ON s.t y" ON pg_temp.t USING btree (a) WHERE (b)')).toBe(index.text);
  expect(twinOf(fragment({ kind: 'index', text: 'CREATE INDEX i ON other.t USING btree (a)' }))).toBeNull();
});
