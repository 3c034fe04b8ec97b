import { describe, expect, test } from 'vitest';
import { JobOptions } from '../contract/options.ts';
import type { CatalogObject, RoleUse } from './catalog.ts';
import {
  judgeCreate,
  judgeRoles,
  judgeSetOwner,
  judgeSuperuserObjects,
  judgeWrite,
  neededRoles,
} from './privilege-target.ts';
import type { TargetRole } from './privilege-target.ts';

const object = (more: Partial<CatalogObject> = {}): CatalogObject => ({
  oid: 1,
  kind: 'TABLE',
  schema: 'shop',
  name: 't',
  relation: true,
  owner: 'app',
  grantees: ['reader'],
  superuserWhy: null,
  ours: true,
  ...more,
});
const policy: RoleUse = { kind: 'POLICY', schema: 'shop', name: 't', relation: true, roles: ['tenant'] };
const columnGrant: RoleUse = { kind: 'COLUMN GRANT', schema: 'shop', name: 't', relation: true, roles: ['auditor'] };
const defaults: RoleUse = {
  kind: 'DEFAULT ACL',
  schema: null,
  name: 'the database',
  relation: false,
  roles: ['maker'],
};
const options = (o: object = {}): JobOptions => JobOptions.parse(o);
const needed = (o: object = {}) => neededRoles(options(o), [object()], [policy, columnGrant, defaults]);
const target = (existing: Record<string, boolean>, more: Partial<TargetRole> = {}): TargetRole => ({
  role: 'me',
  superuser: false,
  createRole: false,
  existing: new Map(Object.entries(existing)),
  ...more,
});

describe('judgeCreate', () => {
  const rights = { role: 'me', database: 'd', createInDatabase: false, schemas: [{ schema: 'public', create: false }] };
  test('existing schemas need CREATE there, new ones CREATE on the database', () => {
    const verdict = judgeCreate(rights, { schemas: ['public', 'shop'], databaseWide: [] });
    expect(verdict.code).toBe('TARGET_CREATE_DENIED');
    expect(verdict.remedy.split('\n')).toEqual([
      'GRANT CREATE ON DATABASE "d" TO "me";',
      'GRANT CREATE, USAGE ON SCHEMA "public" TO "me";',
    ]);
  });
  test('nothing needed, nothing asked', () => {
    expect(judgeCreate(rights, { schemas: [], databaseWide: [] }).outcome).toBe('passed');
    expect(judgeCreate(rights, { schemas: [], databaseWide: ['PUBLICATION "p"'] }).code).toBe('TARGET_CREATE_DENIED');
  });
});

test('data only needs to write', () => {
  const right = { schema: 's', name: 't', kind: 'r', writable: true, rowSecurity: false };
  expect(judgeWrite('me', [right]).outcome).toBe('passed');
  expect(judgeWrite('me', [{ ...right, writable: false }]).remedy).toBe(
    'GRANT SELECT, INSERT, TRUNCATE ON "s"."t" TO "me";',
  );
  expect(judgeWrite('me', [{ ...right, rowSecurity: true }]).code).toBe('TARGET_WRITE_DENIED');
});

describe('roles', () => {
  test('who is needed depends on what is restored', () => {
    expect([...needed().owners.keys()]).toEqual(['app']);
    expect([...needed().others.keys()]).toEqual(['reader', 'tenant', 'auditor', 'maker']);
    expect([...needed({ noAcl: true }).others.keys()]).toEqual(['tenant']);
    expect([...needed({ noOwner: true }).owners.keys()]).toEqual([]);
    expect(needed({ excludeSchema: ['shop'] }).owners.size).toBe(0);
  });
  test('missing roles are named with a place', () => {
    const verdict = judgeRoles(options(), needed(), target({ app: true, tenant: true, auditor: true, maker: true }));
    expect(verdict).toMatchObject({ code: 'ROLE_MISSING' });
    expect(verdict.found).toContain('"reader" (grant on TABLE "shop"."t")');
    expect(verdict.remedy).toBe(
      'CREATE ROLE "reader";\n-- or: --roles create, or --map-role reader=… with a role of the target, or --no-acl',
    );
  });
  test('who is mapped is needed by the new name', () => {
    const mapped = needed({ mapRole: { app: 'reader', tenant: 'lodger' } });
    expect([...mapped.owners.keys()]).toEqual(['reader']);
    expect([...mapped.others.keys()]).toEqual(['lodger', 'auditor', 'maker']);
  });
  test('roles create needs the right to', () => {
    expect(judgeRoles(options({ roles: 'create' }), needed(), target({})).code).toBe('ROLE_CREATION_DENIED');
    expect(judgeRoles(options({ roles: 'create' }), needed(), target({}, { createRole: true })).outcome).toBe('passed');
  });
  test('roles of the system cannot be created', () => {
    const system = neededRoles(options({ roles: 'create' }), [object({ grantees: ['pg_maintain'] })], []);
    expect(judgeRoles(options({ roles: 'create' }), system, target({ app: true }, { superuser: true })).code).toBe(
      'ROLE_MISSING',
    );
  });
});

test('giving objects away', () => {
  expect(judgeSetOwner(options(), needed(), target({ app: false })).code).toBe('OWNER_NOT_ALLOWED');
  expect(judgeSetOwner(options(), needed(), target({ app: true })).outcome).toBe('passed');
  expect(judgeSetOwner(options(), needed(), target({ app: false }, { superuser: true })).outcome).toBe('passed');
  expect(judgeSetOwner(options(), needed(), target({ app: false }, { role: 'app' })).outcome).toBe('passed');
  expect(judgeSetOwner(options({ noOwner: true }), needed(), target({})).outcome).toBe('skipped');
});

describe('objects that need a superuser', () => {
  const trigger = object({ kind: 'EVENT TRIGGER', schema: null, name: 'e', superuserWhy: 'it is an event trigger' });
  const inC = object({ kind: 'FUNCTION', name: 'f(integer)', superuserWhy: 'it is written in C' });
  const found = { objects: [trigger], with: [] as string[], kept: [] as string[], grants: [] as string[] };
  test('none, or a superuser', () => {
    expect(judgeSuperuserObjects(false, false, { ...found, objects: [] }).outcome).toBe('passed');
    expect(judgeSuperuserObjects(true, false, { ...found, kept: ['table t'] }).outcome).toBe('passed');
  });
  test('are left out by name, with what stands on them', () => {
    const verdict = judgeSuperuserObjects(false, false, {
      ...found,
      with: ['aggregate a'],
      grants: ['FUNCTION pg_catalog.f()'],
    });
    expect(verdict.outcome).toBe('warned');
    for (const name of ['EVENT TRIGGER "e"', 'aggregate a', 'FUNCTION pg_catalog.f()', 'left out'])
      expect(verdict.found).toContain(name);
  });
  test('stop the job where rows stand on them, or where it follows the source', () => {
    const rows = judgeSuperuserObjects(false, false, { ...found, objects: [inC], kept: ['column a of table t'] });
    expect(rows).toMatchObject({ code: 'SUPERUSER_NEEDED' });
    expect(rows.found).toContain('column a of table t');
    expect(judgeSuperuserObjects(false, false, found, true).code).toBe('SUPERUSER_NEEDED');
  });
  test('are tried where a provider may allow them', () => {
    expect(judgeSuperuserObjects(false, true, found).found).toContain('may allow it');
    expect(judgeSuperuserObjects(false, true, found, true).outcome).toBe('warned');
    expect(judgeSuperuserObjects(false, true, { ...found, objects: [trigger, inC] }).found).toContain('left out');
  });
});
