import { expect, test } from 'vitest';
import type { ArchiveEntry } from './archive.ts';
import { objectKey } from './excluded.ts';
import type { Excluded } from './excluded.ts';
import { pruneArchive, tableElements } from './prune.ts';

const entry = (dumpId: number, type: string, name: string, more: Partial<ArchiveEntry> = {}): ArchiveEntry => ({
  dumpId,
  classOid: 0,
  oid: 0,
  dependencies: [],
  type,
  schema: 'public',
  name,
  owner: null,
  section: 'pre-data',
  settings: [],
  statements: [],
  ...more,
});

const create = `CREATE TABLE public.people (
    id integer NOT NULL,
    mail public.citext,
    "odd, (name" text DEFAULT 'a, b (c)'::text COLLATE "C",
    key uuid DEFAULT public.uuid_generate_v4() NOT NULL,
    CONSTRAINT mail_ok CHECK ((mail OPERATOR(public.~~) '%,)@%'::public.citext)),
    CONSTRAINT id_ok CHECK ((id > 0))
)
PARTITION BY RANGE (id);`;

const excluded: Excluded = {
  extensions: ['citext'],
  objects: new Set([objectKey(1259, 7), objectKey(3079, 3)]),
  parts: new Map([
    [
      5,
      {
        columns: [{ name: 'mail', quoted: 'mail' }],
        defaults: [{ name: 'key', quoted: 'key', expression: 'public.uuid_generate_v4()' }],
        checks: ['mail_ok'],
      },
    ],
  ]),
  names: [],
};

test('the list of a table is cut at its own commas', () => {
  expect(tableElements(create)?.elements).toHaveLength(6);
  expect(tableElements('CREATE TABLE public.nothing (\n);')?.elements).toEqual([]);
});

test('a table keeps everything but what goes', () => {
  const archive = {
    entries: [
      entry(1, 'EXTENSION', 'citext', { classOid: 3079, oid: 3, schema: null }),
      entry(2, 'COMMENT', 'EXTENSION citext', { dependencies: [1], schema: null }),
      entry(3, 'TABLE', 'people', {
        classOid: 1259,
        oid: 5,
        dependencies: [1],
        statements: [
          create,
          'ALTER TABLE ONLY public.people ALTER COLUMN mail SET STORAGE PLAIN;',
          'ALTER TABLE x OWNER TO y;',
        ],
      }),
      entry(4, 'COMMENT', 'COLUMN people.mail', { dependencies: [3] }),
      entry(5, 'COMMENT', 'COLUMN people.id', { dependencies: [3] }),
      entry(6, 'VIEW', 'mails', { classOid: 1259, oid: 7, dependencies: [3] }),
      entry(7, 'ACL', 'TABLE mails', { dependencies: [6] }),
    ],
  };
  const pruned = pruneArchive(archive, excluded).entries;
  expect(pruned.map(({ dumpId }) => dumpId)).toEqual([3, 5]);
  expect(pruned[0]?.statements).toEqual([
    `CREATE TABLE public.people (
    id integer NOT NULL,
    "odd, (name" text DEFAULT 'a, b (c)'::text COLLATE "C",
    key uuid NOT NULL,
    CONSTRAINT id_ok CHECK ((id > 0))
)
PARTITION BY RANGE (id);`,
    'ALTER TABLE x OWNER TO y;',
  ]);
});
