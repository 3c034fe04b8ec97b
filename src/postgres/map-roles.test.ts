import { describe, expect, it } from 'vitest';
import type { ArchiveEntry } from './archive.ts';
import { grantAsDumped, grantAsMember, mapEntryRoles, rolesOfEntry, sortPolicyRoles } from './map-roles.ts';

function entry(type: string, ...statements: string[]): ArchiveEntry {
  const ids = { dumpId: 1, classOid: 0, oid: 0, dependencies: [], settings: [] };
  return { ...ids, type, schema: null, name: 'x', owner: 'old', section: 'pre-data', statements };
}

const map = { old: 'New Owner', reader: 'role"quoted' };
const mapped = (one: ArchiveEntry): readonly string[] => mapEntryRoles(one, map).statements;

describe('mapEntryRoles', () => {
  it('gives an object to another owner, and touches no name, string or body', () => {
    const create = `CREATE TABLE shop.old (reader integer DEFAULT 'old'::text, "OWNER TO old" text);`;
    const one = entry('TABLE', create, 'ALTER TABLE shop.old OWNER TO old;');
    expect(mapped(one)).toEqual([create, 'ALTER TABLE shop.old OWNER TO "New Owner";']);
    expect(mapEntryRoles(one, map).owner).toBe('New Owner');
  });

  it.each([
    ['FUNCTION', 'ALTER FUNCTION shop.f(a interval, "OWNER TO old" text) OWNER TO old;'],
    ['OPERATOR', 'ALTER OPERATOR shop.< (old, old) OWNER TO old;'],
    ['TABLE', 'ALTER TABLE "a "" OWNER TO reader;".old OWNER TO "old";'],
  ])('%s: %s', (type, statement) => {
    expect(mapped(entry(type, statement))[0]).toMatch(/ OWNER TO "New Owner";$/);
    expect(mapped(entry(type, statement))[0]?.replace(/"New Owner";$/, '')).toBe(statement.replace(/"?old"?;$/, ''));
  });

  it('leaves a body alone that speaks of owners', () => {
    const body = `CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $_$ ALTER TABLE x OWNER TO old; $_$;`;
    expect(mapped(entry('FUNCTION', body, "COMMENT ON x IS 'OWNER TO old;';"))[0]).toBe(body);
  });

  it('renames grantees, and no column or object of that name', () => {
    expect(
      mapped(
        entry(
          'ACL',
          'REVOKE ALL ON TABLE old.reader FROM old;',
          'GRANT SELECT(reader),UPDATE(old) ON TABLE old.reader TO reader WITH GRANT OPTION;',
          'GRANT ALL ON FUNCTION f(a interval day to second) TO PUBLIC;',
          'SET SESSION AUTHORIZATION reader;',
          'GRANT SELECT ON TABLE old."to" TO "old";',
          'RESET SESSION AUTHORIZATION;',
        ),
      ),
    ).toEqual([
      'REVOKE ALL ON TABLE old.reader FROM "New Owner";',
      'GRANT SELECT(reader),UPDATE(old) ON TABLE old.reader TO "role""quoted" WITH GRANT OPTION;',
      'GRANT ALL ON FUNCTION f(a interval day to second) TO PUBLIC;',
      'SET SESSION AUTHORIZATION "role""quoted";',
      'GRANT SELECT ON TABLE old."to" TO "New Owner";',
      'RESET SESSION AUTHORIZATION;',
    ]);
  });

  it('renames roles of default privileges, policies and user mappings', () => {
    expect(
      mapped(
        entry(
          'DEFAULT ACL',
          'ALTER DEFAULT PRIVILEGES FOR ROLE old IN SCHEMA old GRANT SELECT ON TABLES TO reader;',
          'ALTER DEFAULT PRIVILEGES FOR ROLE old REVOKE ALL ON FUNCTIONS FROM PUBLIC;',
        ),
      ),
    ).toEqual([
      'ALTER DEFAULT PRIVILEGES FOR ROLE "New Owner" IN SCHEMA old GRANT SELECT ON TABLES TO "role""quoted";',
      'ALTER DEFAULT PRIVILEGES FOR ROLE "New Owner" REVOKE ALL ON FUNCTIONS FROM PUBLIC;',
    ]);
    expect(
      mapped(entry('POLICY', `CREATE POLICY old ON old.t FOR SELECT TO reader, other, old USING ((old = 'reader'));`)),
    ).toEqual([
      `CREATE POLICY old ON old.t FOR SELECT TO "role""quoted", "other", "New Owner" USING ((old = 'reader'));`,
    ]);
    expect(mapped(entry('POLICY', 'CREATE POLICY p ON t USING (true);'))).toEqual([
      'CREATE POLICY p ON t USING (true);',
    ]);
    const mapping = {
      ...entry('USER MAPPING', `CREATE USER MAPPING FOR reader SERVER old OPTIONS (\n    "user" 'reader'\n);`),
      name: 'USER MAPPING reader SERVER old',
    };
    expect(mapEntryRoles(mapping, map)).toMatchObject({
      name: 'USER MAPPING role"quoted SERVER old',
      statements: [`CREATE USER MAPPING FOR "role""quoted" SERVER old OPTIONS (\n    "user" 'reader'\n);`],
    });
  });

  it('writes roles alike whether they are mapped or not', () => {
    expect(mapEntryRoles(entry('TABLE', 'ALTER TABLE t OWNER TO plain;'), {}).statements).toEqual([
      'ALTER TABLE t OWNER TO "plain";',
    ]);
  });
});

it('lists the roles of an entry', () => {
  const one = entry(
    'ACL',
    'REVOKE ALL ON TABLE t FROM old;',
    'GRANT SELECT ON TABLE t TO "Ev x";',
    'GRANT ALL ON TABLE t TO PUBLIC;',
  );
  expect(rolesOfEntry(one)).toEqual(
    new Map([
      ['old', false],
      ['Ev x', false],
    ]),
  );
  expect(rolesOfEntry(entry('TABLE', 'ALTER TABLE t OWNER TO old;'))).toEqual(new Map([['old', true]]));
});

it('lets a member make the grants that a grantee passed on', () => {
  const dumped = entry(
    'ACL',
    'SET SESSION AUTHORIZATION a;',
    'GRANT SELECT ON TABLE t TO b;',
    'RESET SESSION AUTHORIZATION;',
  );
  const asMember = grantAsMember(dumped);
  expect(asMember.statements).toEqual(['SET ROLE a;', 'GRANT SELECT ON TABLE t TO b;', 'RESET ROLE;']);
  expect(rolesOfEntry(asMember)).toEqual(
    new Map([
      ['a', true],
      ['b', false],
    ]),
  );
  expect(grantAsDumped(asMember)).toEqual(dumped);
});

it('puts the roles of a policy in order', () => {
  const policy = (roles: string): ArchiveEntry =>
    entry('POLICY', `CREATE POLICY p ON t FOR SELECT TO ${roles} USING (b > a);`);
  expect(sortPolicyRoles(policy('b, "A x", b'))).toEqual(sortPolicyRoles(policy('"A x", b')));
  expect(sortPolicyRoles(policy('b, a')).statements[0]).toContain('TO "a", "b" USING (b > a);');
  expect(sortPolicyRoles(policy('b'))).not.toEqual(sortPolicyRoles(policy('a')));
});
