import { expect, it } from 'vitest';
import type { ArchiveEntry } from '../postgres/archive.ts';
import { inUtc, sameTableGrants, withoutDumpVersion } from './archive-words.ts';
import type { Fragment } from './fragments.ts';
import { fragmentsInstead } from './settle-archive.ts';

it('takes moments with a zone to UTC, and nothing else', () => {
  const bound = `FOR VALUES FROM ('2024-01-01 05:45:00+05:45') TO ('2024-12-31 19:00:00.25-05')`;
  expect(inUtc(bound)).toBe(`FOR VALUES FROM ('2024-01-01 00:00:00+00') TO ('2025-01-01 00:00:00.25+00')`);
  expect(inUtc(`'2024-01-01 05:45:00', '2024-01-01'`)).toBe(`'2024-01-01 05:45:00', '2024-01-01'`);
});

it('takes only words of the version away', () => {
  const defaults = 'ALTER DEFAULT PRIVILEGES FOR ROLE a GRANT SELECT ON TABLES  TO b;';
  expect(withoutDumpVersion('DEFAULT ACL', defaults, 17)).toBe(defaults.replace('  ', ' '));
  const subscription = 'CREATE SUBSCRIPTION s WITH (connect = false, streaming = off, binary = true);';
  expect(withoutDumpVersion('SUBSCRIPTION', subscription, 17)).not.toContain('streaming');
  expect(withoutDumpVersion('SUBSCRIPTION', subscription, 18)).toContain('streaming');
  expect(withoutDumpVersion('TABLE', 'ALTER FOREIGN TABLE ONLY a', 17)).toBe('ALTER FOREIGN TABLE ONLY a');
});

const acl = (...statements: string[]): ArchiveEntry => ({
  dumpId: 1,
  classOid: 0,
  oid: 0,
  dependencies: [],
  type: 'ACL',
  schema: 's',
  name: 'TABLE t',
  owner: 'own',
  section: 'pre-data',
  settings: [],
  statements,
});

it('compares grants by what they come to, the owner’s own MAINTAIN apart', () => {
  const before = acl('REVOKE SELECT,INSERT,REFERENCES,DELETE,TRIGGER,TRUNCATE,UPDATE ON TABLE s.t FROM own;');
  const after = acl('REVOKE ALL ON TABLE s.t FROM own;', 'GRANT MAINTAIN ON TABLE s.t TO own;');
  expect(sameTableGrants(before, after)).toBe(true);
  const other = acl(...after.statements, 'GRANT SELECT ON TABLE s.t TO reader;');
  expect(sameTableGrants(before, other)).toBe(false);
  expect(sameTableGrants(acl('GRANT SELECT ON TABLE s.t TO reader;'), acl('GRANT ALL ON TABLE s.t TO reader;'))).toBe(
    false,
  );
});

it('reads what an archive has in the place of what the target prints, where all else is equal', () => {
  const fragment: Fragment = { kind: 'view', label: '', text: 'SELECT a FROM s.t', relation: null, detail: '' };
  const after = 'CREATE VIEW s.v AS\n SELECT a FROM s.t;\nALTER VIEW s.v OWNER TO own;';
  const before = after.replace('SELECT a', 'SELECT t.a');
  expect(fragmentsInstead(before, after, [fragment])).toEqual([
    { source: { ...fragment, text: 'SELECT t.a FROM s.t' }, target: fragment },
  ]);
  expect(fragmentsInstead(before.replace('own', 'somebody'), after, [fragment])).toBeNull();
  expect(fragmentsInstead(before, after, [])).toBeNull();
});
