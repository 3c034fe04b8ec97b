import { qualified, quoteIdent, quoteLiteral } from '../postgres/quote.ts';
import { failed, passed, skipped } from './check.ts';
import type { Check, Verdict } from './check.ts';
import type { Relation } from './catalog.ts';
import { ownerRights } from './privilege-inherit.ts';
import { ownerChecks } from './privilege-owners.ts';
import { targetPrivilegeChecks } from './privilege-target.ts';
import { dataInScope, inScope, largeObjectsInScope } from './scope.ts';
import { NAMED, count, listNames } from './words.ts';
import type { JobOptions } from '../contract/options.ts';

/**
 * What pg_dump locks, and therefore must be able to SELECT from as a whole, rows copied or not: column grants do not
 * suffice for LOCK TABLE (PostgreSQL documentation, LOCK). Sequences are read only for their values.
 */
export function relationsToRead(options: JobOptions, relations: readonly Relation[]): Relation[] {
  return relations.filter(
    (r) =>
      inScope(options, { schema: r.schema, name: r.name, relation: true }) &&
      (r.kind === 'r' || r.kind === 'p' || (r.kind === 'S' && dataInScope(options, r.schema, r.name))),
  );
}

export function judgeSchemaUsage(role: string, relations: readonly Relation[]): Verdict {
  const schemas = new Set(relations.map((r) => r.schema));
  const closed = new Set(relations.filter((r) => !r.schemaUsage).map((r) => r.schema));
  if (closed.size === 0)
    return passed(
      `The role ${role} may use ${schemas.size === 1 ? 'the schema' : `all ${count(schemas.size, 'schema')}`} of the job.`,
    );
  const names = [...closed].map(quoteIdent);
  return failed(
    'MISSING_USAGE',
    `The role ${role} has no USAGE on ${count(names.length, 'schema')}: ${listNames(names)}.`,
    `GRANT USAGE ON SCHEMA ${names.join(', ')} TO ${quoteIdent(role)};`,
  );
}

const schemaUsage: Check = {
  id: 'privilege.schema-usage',
  severity: 'blocks',
  title: 'The source role may look into every schema of the job.',
  needs: 'source',
  run: async (source, { options }) =>
    judgeSchemaUsage(source.identity.role, relationsToRead(options, await source.relations())),
};

const grantSelect = (r: Relation, role: string): string =>
  `GRANT SELECT ON ${r.kind === 'S' ? 'SEQUENCE ' : ''}${qualified(r.schema, r.name)} TO ${quoteIdent(role)};`;

export function judgeSelect(role: string, relations: readonly Relation[]): Verdict {
  const denied = relations.filter((r) => !r.canSelect);
  if (denied.length === 0)
    return passed(
      `The role ${role} may read all ${count(relations.length, 'table and sequence', 'tables and sequences')} of the job.`,
    );
  const names = denied.map((r) => qualified(r.schema, r.name));
  const schemas = [...new Set(denied.map((r) => r.schema))].map(quoteIdent).join(', ');
  const grants =
    denied.length <= NAMED
      ? denied.map((r) => grantSelect(r, role))
      : [
          `GRANT SELECT ON ALL TABLES IN SCHEMA ${schemas} TO ${quoteIdent(role)};`,
          `GRANT SELECT ON ALL SEQUENCES IN SCHEMA ${schemas} TO ${quoteIdent(role)};`,
        ];
  return failed(
    'MISSING_SELECT',
    `The role ${role} may not read ${count(denied.length, 'relation')}: ${listNames(names)}. (A grant on single columns is not enough: pg_dump locks whole tables.)`,
    grants.join('\n'),
  );
}

const select: Check = {
  id: 'privilege.select',
  severity: 'blocks',
  title: 'The source role may read every table and sequence of the job.',
  needs: 'source',
  run: async (source, { options }) =>
    judgeSelect(source.identity.role, relationsToRead(options, await source.relations())),
};

export function judgeLargeObjects(
  role: string,
  total: number,
  unreadable: readonly number[],
  unreadableTotal: number,
): Verdict {
  if (total === 0) return passed('There are no large objects.');
  if (unreadableTotal === 0) return passed(`The role ${role} may read ${count(total, 'large object')}.`);
  const grants = unreadable.slice(0, NAMED).map((oid) => `GRANT SELECT ON LARGE OBJECT ${oid} TO ${quoteIdent(role)};`);
  const all = [
    'DO $$ DECLARE o oid; BEGIN',
    '  FOR o IN SELECT oid FROM pg_largeobject_metadata LOOP',
    `    EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO %I', o, ${quoteLiteral(role)});`,
    '  END LOOP;',
    'END $$;',
  ];
  return failed(
    'MISSING_LARGE_OBJECT_SELECT',
    `The role ${role} may not read ${unreadableTotal} of ${count(total, 'large object')}: ${listNames(unreadable.map(String))}${unreadableTotal > unreadable.length ? ' …' : ''}.`,
    (unreadableTotal <= NAMED ? grants : all).join('\n'),
  );
}

/** has_largeobject_privilege exists from 18 on; this is what it answers, by owner and ACL, for all majors. */
const LARGE_OBJECTS = `
WITH denied AS (
  SELECT m.oid FROM pg_largeobject_metadata m
  WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
    AND current_setting('lo_compat_privileges') = 'off'
    AND NOT pg_has_role(m.lomowner, 'USAGE')
    AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT'
                    AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))
)
SELECT (SELECT count(*) FROM pg_largeobject_metadata)::float8 AS total, (SELECT count(*) FROM denied)::float8 AS "deniedTotal",
       ARRAY(SELECT oid::int8::text FROM denied ORDER BY oid LIMIT ${NAMED}) AS denied`;

const largeObjects: Check = {
  id: 'privilege.large-objects',
  severity: 'blocks',
  title: 'The source role may read every large object.',
  needs: 'source',
  run: async (source, { options }) => {
    if (!largeObjectsInScope(options)) return skipped('The job moves no large objects.');
    const row = await source.one<{ total: number; deniedTotal: number; denied: string[] }>(LARGE_OBJECTS);
    return judgeLargeObjects(source.identity.role, row.total, row.denied.map(Number), row.deniedTotal);
  },
};

export function judgeRowSecurity(role: string, relations: readonly Relation[]): Verdict {
  const hidden = relations.filter((r) => r.rowSecurity);
  if (hidden.length === 0) return passed('No policy hides rows from this role.');
  const names = hidden.map((r) => qualified(r.schema, r.name));
  return failed(
    'ROW_SECURITY_HIDES_ROWS',
    `Row-level security would hide rows of ${count(hidden.length, 'table')} from ${role}: ${listNames(names)}. A copy would lose them without an error.`,
    `ALTER ROLE ${quoteIdent(role)} BYPASSRLS; -- as a superuser; or give a source URL with ${hidden.some((r) => r.rowSecurityForced) ? 'a role that has BYPASSRLS' : "the tables' owner"}`,
  );
}

const rowSecurity: Check = {
  id: 'privilege.row-security',
  severity: 'blocks',
  title: 'Row-level security hides no row from the source role.',
  needs: 'source',
  run: async (source, { options }) => {
    const copied = (await source.relations()).filter(
      (r) => 'rp'.includes(r.kind) && dataInScope(options, r.schema, r.name),
    );
    return judgeRowSecurity(source.identity.role, copied);
  },
};

export const privilegeChecks: readonly Check[] = [
  schemaUsage,
  select,
  largeObjects,
  rowSecurity,
  ...targetPrivilegeChecks,
  ...ownerChecks,
  ownerRights,
];
