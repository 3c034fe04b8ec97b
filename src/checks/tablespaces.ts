import { quoteIdent } from '../postgres/quote.ts';
import { userSchema } from './catalog.ts';
import { passed, skipped, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { inScope } from './scope.ts';
import { count, listNames } from './words.ts';

/** A tablespace of the target, and whether our role may create in it. */
export interface TargetTablespace {
  readonly name: string;
  readonly create: boolean;
}

/** What cannot stand where it stood goes to the database's own tablespace, so this stops nothing. Pure. */
export function judgeTablespaces(used: readonly string[], there: readonly TargetTablespace[], role: string): Verdict {
  if (used.length === 0) return passed('Everything stands in the default tablespace.');
  const missing = used.filter((name) => !there.some((one) => one.name === name)).map(quoteIdent);
  const closed = used.filter((name) => there.some((one) => one.name === name && !one.create)).map(quoteIdent);
  if (missing.length + closed.length === 0)
    return passed(`The target has every tablespace in use: ${listNames(used)}.`);
  const found = [
    ...(missing.length > 0
      ? [`The target lacks ${count(missing.length, 'tablespace')} of the source: ${listNames(missing)}.`]
      : []),
    ...(closed.length > 0
      ? [
          `The role ${role} may not create in ${count(closed.length, 'tablespace')} of the target: ${listNames(closed)}.`,
        ]
      : []),
    "What stands there goes to the target's default tablespace.",
  ];
  return warned(
    found.join(' '),
    [
      ...missing.map((name) => `CREATE TABLESPACE ${name} LOCATION '/an/empty/directory/of/that/server';`),
      ...closed.map((name) => `GRANT CREATE ON TABLESPACE ${name} TO ${quoteIdent(role)};`),
    ].join('\n'),
  );
}

const USED = `
SELECT n.nspname AS schema, COALESCE(t.relname, c.relname) AS name, s.spcname AS tablespace
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_tablespace s ON s.oid = c.reltablespace
LEFT JOIN pg_index i ON i.indexrelid = c.oid LEFT JOIN pg_class t ON t.oid = i.indrelid
WHERE ${userSchema('n')}`;

const THERE = `SELECT spcname::text AS name, has_tablespace_privilege(oid, 'CREATE') AS create FROM pg_tablespace`;

export const tablespacesCheck: Check = {
  id: 'objects.tablespaces',
  severity: 'warns',
  title: 'Tablespaces in use on the source exist on the target, and may be used.',
  needs: 'both',
  side: 'target',
  run: async (source, target, { options }) => {
    if (options.dataOnly) return skipped('The job moves data only: no definition is restored.');
    const rows = await source.session.query<{ schema: string; name: string; tablespace: string }>(USED);
    const used = new Set(rows.filter((r) => inScope(options, { ...r, relation: true })).map((r) => r.tablespace));
    const there = await target.session.query<TargetTablespace & Record<string, unknown>>(THERE);
    return judgeTablespaces([...used], there, target.identity.role);
  },
};
