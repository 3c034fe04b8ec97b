import { describe, expect, it } from 'vitest';
import { isForeignRole, rolesInvolved } from './role-facts.ts';
import type { Membership, RoleFacts, RoleRights } from './role-facts.ts';
import { planRoles } from './role-plan.ts';
import type { RolePlan, RolePlanInput } from './role-plan.ts';
import { settingClause } from './stored-settings.ts';

interface Extra {
  readonly attributes?: Partial<RoleFacts['attributes']>;
  readonly memberships?: readonly Membership[];
  readonly settings?: readonly string[];
  readonly databaseSettings?: readonly string[];
}

function role(name: string, extra: Extra = {}): RoleFacts {
  const memberships = extra.memberships ?? [];
  return {
    name,
    attributes: {
      login: false,
      inherit: true,
      createdb: false,
      createrole: false,
      superuser: false,
      replication: false,
      bypassrls: false,
      connectionLimit: -1,
      validUntil: null,
      ...extra.attributes,
    },
    memberOf: memberships.map((one) => one.role),
    memberships,
    settings: extra.settings ?? [],
    databaseSettings: extra.databaseSettings ?? [],
  };
}
const member = (of: string, more: Partial<Membership> = {}): Membership => ({
  role: of,
  admin: false,
  inherit: true,
  set: true,
  ...more,
});
const rights = (more: Partial<RoleRights> = {}): RoleRights => ({
  role: 'me',
  major: 17,
  superuser: false,
  createrole: true,
  createdb: false,
  replication: false,
  bypassrls: false,
  existing: new Set(['me']),
  administers: new Set(),
  reserved: new Set(),
  databaseSettings: new Set(),
  ...more,
});
const plan = (roles: readonly RoleFacts[], more: Partial<RolePlanInput> = {}): RolePlan =>
  planRoles({
    roles,
    actAs: new Set(),
    verifiers: null,
    map: {},
    target: rights(),
    targetDatabase: 'db "x"',
    ...more,
  });
const statements = (made: RolePlan): string[] => made.steps.map(({ statement }) => statement);

describe('attributes', () => {
  const all = { superuser: true, createdb: true, createrole: true, replication: true, bypassrls: true };
  it('are given as far as the target role may, and the rest is named', () => {
    const made = plan([
      role('A b', { attributes: { ...all, connectionLimit: 3, validUntil: '2030-01-01 00:00:00+00' } }),
    ]);
    expect(statements(made)).toEqual([
      `CREATE ROLE "A b" CREATEROLE INHERIT NOLOGIN CONNECTION LIMIT 3 VALID UNTIL '2030-01-01 00:00:00+00'`,
    ]);
    expect(made.withheld).toEqual(['the role "A b" is made without SUPERUSER, CREATEDB, REPLICATION, BYPASSRLS']);
    expect(made.todo[0]).toContain('ALTER ROLE "A b" SUPERUSER CREATEDB REPLICATION BYPASSRLS;');
  });
  it('before 16 CREATEROLE gives CREATEDB, since then one gives what one has', () => {
    const before = plan([role('a', { attributes: all })], { target: rights({ major: 15 }) });
    expect(before.withheld).toEqual(['the role "a" is made without SUPERUSER, REPLICATION, BYPASSRLS']);
    const since = plan([role('a', { attributes: all })], { target: rights({ createdb: true, replication: true }) });
    expect(since.withheld).toEqual(['the role "a" is made without SUPERUSER, BYPASSRLS']);
    expect(plan([role('a', { attributes: all })], { target: rights({ superuser: true }) }).withheld).toEqual([]);
  });
  it('are left alone where the role is there already, or belongs to a place', () => {
    expect(statements(plan([role('me'), role('rds_superuser'), role('pg_x')]))).toEqual([]);
  });
});

describe('passwords', () => {
  const login = role('app', { attributes: { login: true } });
  it('travel beside the statement that is shown', () => {
    const made = plan([login], { verifiers: new Map([['app', 'SCRAM-SHA-256$4096:x']]) });
    expect(made.steps[1]).toMatchObject({ secret: `ALTER ROLE "app" PASSWORD 'SCRAM-SHA-256$4096:x'` });
    expect(
      JSON.stringify([statements(made), made.todo, made.withheld, made.steps.map((s) => s.otherwise)]),
    ).not.toContain('SCRAM');
    expect(made.passwords).toEqual([]);
  });
  it('are asked for where they cannot be read', () => {
    expect(plan([login]).passwords).toEqual(['app']);
    expect(plan([login]).todo).toEqual([expect.stringContaining(`ALTER ROLE "app" PASSWORD '…';`)]);
    expect(plan([role('group')]).todo).toEqual([]);
  });
  it('are not asked for where the source has none', () => {
    expect(plan([login], { verifiers: new Map([['app', null]]) }).todo).toEqual([]);
  });
  it('of md5 mean nothing under another name', () => {
    const made = plan([login], { verifiers: new Map([['app', 'md5abc']]), map: { app: 'new' } });
    expect(made.passwords).toEqual(['new']);
    expect(made.steps.some((step) => step.secret !== undefined)).toBe(false);
  });
});

describe('memberships', () => {
  it('keep their options from 16 on', () => {
    const roles = [role('group'), role('app', { memberships: [member('group', { admin: true, inherit: false })] })];
    expect(statements(plan(roles)).at(-1)).toBe('GRANT "group" TO "app" WITH ADMIN TRUE, INHERIT FALSE, SET TRUE');
  });
  it('lose them on an older target, and say so', () => {
    const roles = [
      role('group'),
      role('app', { memberships: [member('group', { admin: true, inherit: false, set: true })] }),
      role('boss', { memberships: [member('group', { admin: true, inherit: false, set: false })] }),
    ];
    const made = plan(roles, { target: rights({ major: 15 }) });
    expect(statements(made).at(-1)).toBe('GRANT "group" TO "app" WITH ADMIN OPTION');
    expect(made.withheld).toEqual([
      'the membership of "app" in "group" comes without INHERIT FALSE',
      'the membership of "boss" in "group" is left out, for it lets nobody use the role',
    ]);
  });
  it('of older sources are plain', () => {
    const roles = [role('group'), role('app', { memberships: [member('group', { inherit: null, set: null })] })];
    expect(statements(plan(roles)).at(-1)).toBe('GRANT "group" TO "app"');
  });
  it('in roles that another administers are left to a person', () => {
    const roles = [role('app', { memberships: [member('pg_monitor')] })];
    const existing = new Set(['me', 'pg_monitor']);
    const made = plan(roles, { target: rights({ existing }) });
    expect(statements(made)).toHaveLength(1);
    expect(made.withheld).toEqual([`the membership of "app" in "pg_monitor" is not the target role's to grant`]);
    expect(made.todo).toEqual([expect.stringContaining('GRANT "pg_monitor" TO "app";')]);
    const both = rights({ existing, administers: new Set(['pg_monitor']) });
    expect(statements(plan(roles, { target: both })).at(-1)).toContain('GRANT "pg_monitor" TO "app"');
  });
  it('between roles that became one are none', () => {
    const roles = [role('group'), role('app', { memberships: [member('group')] })];
    expect(statements(plan(roles, { map: { group: 'one', app: 'one' } }))).toEqual([
      'CREATE ROLE "one" INHERIT NOLOGIN',
    ]);
  });
  it('in roles that it has to act as come to the connecting role first', () => {
    const made = plan([role('app')], { actAs: new Set(['app']) });
    expect(statements(made)[1]).toBe('GRANT "app" TO CURRENT_USER WITH SET TRUE, INHERIT TRUE');
    expect(statements(plan([role('app')], { actAs: new Set(['app']), target: rights({ major: 15 }) }))[1]).toBe(
      'GRANT "app" TO CURRENT_USER',
    );
  });
});

describe('settings', () => {
  const settings = { settings: ['work_mem=64MB', 'log_statement=all'], databaseSettings: ['search_path=app, "My s"'] };
  it('are set in general and for the database, what takes a superuser apart', () => {
    const made = plan([role('app', settings)], { target: rights({ reserved: new Set(['log_statement']) }) });
    expect(statements(made).slice(1)).toEqual([
      `ALTER ROLE "app" SET "work_mem" TO '64MB'`,
      `ALTER ROLE "app" IN DATABASE "db ""x""" SET "search_path" TO app, "My s"`,
    ]);
    expect(made.withheld).toEqual(['log_statement of the role "app" takes a superuser to set']);
    expect(made.todo[0]).toContain(`ALTER ROLE "app" SET "log_statement" TO 'all';`);
  });
  it('of a role of the target are only added, for this database', () => {
    const existing = new Set(['me', 'app']);
    expect(
      statements(plan([role('app', settings)], { target: rights({ existing, administers: new Set(['app']) }) })),
    ).toEqual([`ALTER ROLE "app" IN DATABASE "db ""x""" SET "search_path" TO app, "My s"`]);
    const target = rights({ existing, databaseSettings: new Set(['app search_path']) });
    expect(statements(plan([role('app', settings)], { target }))).toEqual([]);
  });
});

it('involves members of what is named and what these are members of, but none who only administers', () => {
  const roles = [
    role('owner', { memberships: [member('base')] }),
    role('base'),
    role('readers'),
    role('alice', { memberships: [member('readers'), member('elsewhere')] }),
    role('elsewhere'),
    role('admin', { memberships: [member('readers', { admin: true, inherit: false, set: false })] }),
    role('guest', { memberships: [member('rds_superuser')] }),
    role('rds_superuser'),
  ];
  expect(rolesInvolved(roles, ['owner', 'readers', 'rds_superuser', 'nobody']).map(({ name }) => name)).toEqual([
    'owner',
    'base',
    'readers',
    'alice',
    'rds_superuser',
  ]);
});

it.each([
  ['pg_monitor', true],
  ['rds_replication', true],
  ['cloudsqladmin', true],
  ['supabase_auth_admin', true],
  ['azure_pg_admin', true],
  ['app', false],
  ['postgres', false],
  ['rdsapp', false],
])('%s is brought by the server or its place: %s', (name, foreign) => {
  expect(isForeignRole(name)).toBe(foreign);
});

it.each([
  ['work_mem=64MB', `SET "work_mem" TO '64MB'`],
  ['search_path=', `SET "search_path" TO ''`],
  ['app.user=a=b', `SET "app"."user" TO 'a=b'`],
])('%s is set by %s', (setting, clause) => {
  expect(settingClause(setting)).toBe(clause);
});
