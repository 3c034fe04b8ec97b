import { expect, test } from 'vitest';
import { PrintedData } from './printed-data.ts';

const text = String.raw`--
-- Data for Name: orders; Type: TABLE DATA; Schema: public; Owner: app
--

COPY public.orders (id, note) FROM stdin;
1	COPY public.orders (id, note) FROM stdin;
2	\N
3	\\.
4
\.


COPY "Sh""op"."a
b" ("x y") FROM stdin;

\.

COPY public.empty (id) FROM stdin;
\.
COPY public.bare  FROM stdin;


\.
SELECT pg_catalog.setval('public.orders_id_seq', 42, true);
SELECT pg_catalog.setval('"Sh""op"."it''s
one"', -3, false);
SELECT pg_catalog.lo_close(0);
COPY public."Größe" (id) FROM stdin;
ä
\.
`;

test('rows and sequences are read from what pg_restore prints, however it is cut', () => {
  const bytes = Buffer.from(text);
  for (const size of [1, 2, 3, 7, 50, bytes.length]) {
    const printed = new PrintedData();
    for (let at = 0; at < bytes.length; at += size) printed.feed(bytes.subarray(at, at + size));
    printed.end();
    const rows = [...printed.tables.values()].map(({ schema, name, rows: count }) => [schema, name, count]);
    expect(rows).toEqual([
      ['public', 'orders', 4],
      ['Sh"op', 'a\nb', 1],
      ['public', 'empty', 0],
      ['public', 'bare', 2],
      ['public', 'Größe', 1],
    ]);
    expect(printed.sequences).toEqual([
      { schema: 'public', name: 'orders_id_seq', value: '42', isCalled: true },
      { schema: 'Sh"op', name: "it's\none", value: '-3', isCalled: false },
    ]);
  }
});

test('rows that do not end are no whole table', () => {
  const printed = new PrintedData();
  printed.feed(Buffer.from('COPY public.orders (id) FROM stdin;\n1\n'));
  expect(() => printed.end()).toThrow('public.orders');
});
