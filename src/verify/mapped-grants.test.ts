import { describe, expect, it } from 'vitest';
import type { ArchiveEntry } from '../postgres/archive.ts';
import { compareArchives } from './catalogue.ts';
import { sameMappedGrants, withoutSameGrants } from './mapped-grants.ts';

function acl(...statements: string[]): ArchiveEntry {
  const ids = { dumpId: 2, classOid: 0, oid: 0, dependencies: [1], settings: [] };
  return { ...ids, type: 'ACL', schema: 's', name: 'TABLE t', owner: 'x', section: 'pre-data', statements };
}
const same = (source: readonly string[], target: readonly string[], owner: string | null = 'x'): boolean =>
  sameMappedGrants({
    source: source.length === 0 ? [] : [acl(...source)],
    target: target.length === 0 ? [] : [acl(...target)],
    owner,
    targetMajor: 17,
  });

describe('grants of several roles that became one', () => {
  it('are joined right by right', () => {
    const source = ['GRANT SELECT ON TABLE s.t TO "r";', 'GRANT INSERT(a,b),UPDATE(a) ON TABLE s.t TO "r";'];
    expect(same(source, ['GRANT INSERT(a,b),SELECT,UPDATE(a) ON TABLE s.t TO "r";'])).toBe(true);
    expect(same(source, ['GRANT INSERT(a),SELECT,UPDATE(a) ON TABLE s.t TO "r";'])).toBe(false);
  });
  it('are nothing where the owner has them anyway, unless it was robbed', () => {
    expect(same(['GRANT SELECT ON TABLE s.t TO "x";'], [])).toBe(true);
    expect(same(['GRANT SELECT ON TABLE s.t TO "y";'], [])).toBe(false);
    expect(same(['REVOKE ALL ON TABLE s.t FROM "x";', 'GRANT SELECT ON TABLE s.t TO "x";'], [])).toBe(false);
  });
  it('with and without grant option come to the one with it', () => {
    const source = ['GRANT SELECT ON TABLE s.t TO "r" WITH GRANT OPTION;', 'GRANT SELECT ON TABLE s.t TO "r";'];
    expect(same(source, ['GRANT SELECT ON TABLE s.t TO "r" WITH GRANT OPTION;'])).toBe(true);
    expect(same(source, ['GRANT SELECT ON TABLE s.t TO "r";'])).toBe(false);
  });
  it('may come to all', () => {
    const rights = 'SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER';
    const source = [`GRANT ${rights} ON TABLE s.t TO "r";`, 'GRANT MAINTAIN ON TABLE s.t TO "r";'];
    expect(same(source, ['GRANT ALL ON TABLE s.t TO "r";'])).toBe(true);
    expect(same(source.slice(0, 1), ['GRANT ALL ON TABLE s.t TO "r";'])).toBe(false);
  });
  it('keep whom they come from, and who everybody is', () => {
    const passed = [
      'SET SESSION AUTHORIZATION "g";',
      'GRANT SELECT ON TABLE s.t TO "r";',
      'RESET SESSION AUTHORIZATION;',
    ];
    expect(same(passed, ['GRANT SELECT ON TABLE s.t TO "r";'])).toBe(false);
    expect(same(passed, ['GRANT SELECT ON TABLE s.t TO "r";'], 'g')).toBe(true);
    expect(same(['GRANT SELECT ON TABLE s.t TO PUBLIC;'], ['GRANT SELECT ON TABLE s.t TO "public";'])).toBe(false);
  });
  it('by default are told by role and schema', () => {
    const words = (role: string, rest: string): string =>
      `ALTER DEFAULT PRIVILEGES FOR ROLE "${role}" IN SCHEMA s ${rest};`;
    const source = [words('x', 'GRANT SELECT ON TABLES TO "r"'), words('x', 'GRANT INSERT ON TABLES TO "r"')];
    expect(same(source, [words('x', 'GRANT SELECT,INSERT ON TABLES TO "r"')], null)).toBe(true);
    expect(same(source, [words('y', 'GRANT SELECT,INSERT ON TABLES TO "r"')], null)).toBe(false);
  });
});

it('takes only grants out of a comparison, and only equal ones', () => {
  const lost = { ...acl('GRANT SELECT ON TABLE s.u TO "y";'), name: 'TABLE u' };
  const table = { ...acl('CREATE TABLE s.v ();'), type: 'TABLE', name: 'v' };
  const comparison = compareArchives(
    { entries: [acl('GRANT SELECT ON TABLE s.t TO "x";'), lost, table] },
    { entries: [] },
  );
  const left = withoutSameGrants(comparison, { targetMajor: 15, ownerOf: () => 'x' });
  expect(left.missing.map(({ name }) => name)).toEqual(['TABLE u', 'v']);
});
