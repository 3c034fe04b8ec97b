import { qualified, quoteIdent } from '../postgres/quote.ts';
import { failed, informed, passed, skipped, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { userSchema } from './catalog.ts';
import type { CatalogObject } from './catalog.ts';
import { applicationCheck } from './application.ts';
import { excludedExtensionsCheck, extensionsCheck } from './extensions.ts';
import { foreignCheck } from './foreign.ts';
import { inventoryCheck } from './inventory.ts';
import { inScope } from './scope.ts';
import { tablespacesCheck } from './tablespaces.ts';
import { violationsCheck } from './violations.ts';
import { NAMED, count, listNames } from './words.ts';
import type { JobOptions } from '../contract/options.ts';

const DATA_ONLY = 'The job moves data only: no definition is restored.';

/** One thing that belongs to a relation: an index, a constraint, a trigger. */
export interface Attached {
  readonly schema: string;
  /** The relation it belongs to. */
  readonly relation: string;
  readonly name: string;
}

const attachedInScope = <T extends Attached>(options: JobOptions, rows: readonly T[]): T[] =>
  rows.filter((row) => inScope(options, { schema: row.schema, name: row.relation, relation: true }));

const onRelation = (a: Attached): string => `${quoteIdent(a.name)} on ${qualified(a.schema, a.relation)}`;

export function judgeLanguages(objects: readonly CatalogObject[]): Verdict {
  const languages = objects.filter((o) => o.kind === 'PROCEDURAL LANGUAGE').map((o) => quoteIdent(o.name));
  if (languages.length === 0) return passed('Every procedural language comes with an extension or with PostgreSQL.');
  return warned(
    `${count(languages.length, 'procedural language')} of the source ${languages.length === 1 ? 'was' : 'were'} made without an extension: ${listNames(languages)}. The target needs the same shared library.`,
    'Where an extension provides the language, make it on the target before: CREATE EXTENSION …;',
  );
}

const languages: Check = {
  id: 'objects.languages',
  severity: 'warns',
  title: 'Procedural languages can be made on the target.',
  needs: 'source',
  run: async (source, { options }) => judgeLanguages((await source.objects()).filter((o) => inScope(options, o))),
};

export interface CollationFacts {
  /** System collations that columns, indexes and domains of the source name. */
  readonly used: readonly string[];
  readonly onTarget: readonly string[];
}

export function judgeCollations(facts: CollationFacts): Verdict {
  const missing = facts.used.filter((name) => !facts.onTarget.includes(name));
  if (missing.length > 0) {
    return failed(
      'COLLATION_MISSING',
      `The target lacks ${count(missing.length, 'collation')} that the source uses: ${listNames(missing.map(quoteIdent))}.`,
      `-- install the locales on the target's machine (Debian: dpkg-reconfigure locales), then there, as a superuser:\nSELECT pg_import_system_collations('pg_catalog');`,
    );
  }
  return passed(
    facts.used.length === 0
      ? 'Only the default collations are in use.'
      : `Collations in use exist on the target: ${listNames(facts.used)}.`,
  );
}

const COLLATIONS = `
WITH used AS (
  SELECT attcollation AS oid FROM pg_attribute WHERE attrelid >= 16384 AND attnum > 0 AND NOT attisdropped AND attcollation <> 0
  UNION SELECT typcollation FROM pg_type WHERE oid >= 16384 AND typcollation <> 0
  UNION SELECT unnest(indcollation) FROM pg_index WHERE indexrelid >= 16384
)
SELECT DISTINCT c.collname::text AS name FROM pg_collation c JOIN used USING (oid)
WHERE c.collnamespace = 'pg_catalog'::regnamespace AND c.collname NOT IN ('default', 'C', 'POSIX') ORDER BY 1`;

const COLLATIONS_THERE = `
SELECT DISTINCT collname::text AS name FROM pg_collation
WHERE collnamespace = 'pg_catalog'::regnamespace AND collname = ANY ($1)
  AND collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database()))`;

const collations: Check = {
  id: 'objects.collations',
  severity: 'blocks',
  title: 'Collations in use exist on the target.',
  needs: 'both',
  side: 'both',
  run: async (source, target, { options }) => {
    if (options.dataOnly) return skipped(DATA_ONLY);
    const used = (await source.session.query<{ name: string }>(COLLATIONS)).map((r) => r.name);
    const there = await target.session.query<{ name: string }>(COLLATIONS_THERE, [used]);
    return judgeCollations({ used, onTarget: there.map((r) => r.name) });
  },
};

export function judgeInvalidIndexes(indexes: readonly Attached[]): Verdict {
  if (indexes.length === 0) return passed('Every index is valid.');
  return warned(
    `${count(indexes.length, 'invalid index', 'invalid indexes')}, left by a failed CREATE INDEX CONCURRENTLY, ${indexes.length === 1 ? 'is' : 'are'} not copied: ${listNames(indexes.map(onRelation))}.`,
    indexes
      .slice(0, NAMED)
      .map((i) => `REINDEX INDEX ${qualified(i.schema, i.name)};`)
      .join('\n'),
  );
}

/** pg_dump leaves them out, but for those of partitioned tables. */
const INVALID_INDEXES = `
SELECT n.nspname AS schema, t.relname AS relation, c.relname AS name
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND t.relkind <> 'p' AND ${userSchema('n')} ORDER BY 1, 2, 3`;

export function judgeNotValid(constraints: readonly Attached[]): Verdict {
  if (constraints.length === 0) return passed('Every constraint is validated.');
  return informed(
    `${count(constraints.length, 'constraint')} marked NOT VALID ${constraints.length === 1 ? 'stays' : 'stay'} so on the target: ${listNames(constraints.map(onRelation))}.`,
  );
}

const NOT_VALID = `
SELECT n.nspname AS schema, COALESCE(c.relname, t.typname) AS relation, k.conname AS name
FROM pg_constraint k LEFT JOIN pg_class c ON c.oid = k.conrelid LEFT JOIN pg_type t ON t.oid = k.contypid
JOIN pg_namespace n ON n.oid = k.connamespace WHERE NOT k.convalidated AND k.conparentid = 0 AND ${userSchema('n')} ORDER BY 1, 2, 3`;

export function judgeDisabledTriggers(triggers: readonly Attached[]): Verdict {
  if (triggers.length === 0) return passed('No trigger is disabled or set to fire otherwise than by default.');
  return informed(
    `${count(triggers.length, 'trigger')} ${triggers.length === 1 ? 'is' : 'are'} disabled, REPLICA or ALWAYS, and ${triggers.length === 1 ? 'arrives' : 'arrive'} so: ${listNames(triggers.map(onRelation))}.`,
  );
}

const DISABLED_TRIGGERS = `
SELECT n.nspname AS schema, c.relname AS relation, g.tgname AS name
FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE g.tgenabled <> 'O' AND NOT g.tgisinternal AND ${userSchema('n')} ORDER BY 1, 2, 3`;

const attachedCheck = (
  head: { readonly id: `objects.${string}`; readonly severity: 'warns' | 'informs'; readonly title: string },
  sql: string,
  judge: (rows: readonly Attached[]) => Verdict,
): Check => ({
  ...head,
  needs: 'source',
  run: async (source, { options }) =>
    judge(attachedInScope(options, await source.session.query<Attached & Record<string, unknown>>(sql))),
});

export interface Subscription {
  readonly name: string;
  readonly enabled: boolean;
}

/** A disabled one brings no rows in; its copy arrives disabled either way. Pure. */
export function judgeSubscriptions(subscriptions: readonly Subscription[]): Verdict {
  if (subscriptions.length === 0) return passed('The source subscribes to nothing.');
  const enabled = subscriptions.filter((one) => one.enabled).map((one) => quoteIdent(one.name));
  const copies = 'A copy arrives without a slot and disabled, if this role may read it at all.';
  if (enabled.length === 0)
    return informed(
      `${count(subscriptions.length, 'subscription')} of the source ${subscriptions.length === 1 ? 'is' : 'are'} disabled: ${listNames(subscriptions.map((one) => quoteIdent(one.name)))}. ${copies}`,
    );
  return warned(
    `The source takes changes from elsewhere by ${count(enabled.length, 'subscription')}: ${listNames(enabled)}. ${copies} Rows that come in during the copy are not part of it.`,
    enabled
      .slice(0, NAMED)
      .map((name) => `ALTER SUBSCRIPTION ${name} DISABLE; -- on the source, for the time of the copy`)
      .join('\n'),
  );
}

const SUBSCRIPTIONS = `
SELECT subname::text AS name, subenabled AS enabled FROM pg_subscription
WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1`;

const subscriptions: Check = {
  id: 'objects.subscriptions',
  severity: 'warns',
  title: 'The source is not fed by logical replication meanwhile.',
  needs: 'source',
  run: async (source) =>
    judgeSubscriptions(await source.session.query<Subscription & Record<string, unknown>>(SUBSCRIPTIONS)),
};

export const objectChecks: readonly Check[] = [
  extensionsCheck,
  excludedExtensionsCheck,
  languages,
  tablespacesCheck,
  collations,
  foreignCheck,
  inventoryCheck,
  attachedCheck(
    { id: 'objects.invalid-indexes', severity: 'warns', title: 'No index is invalid; a copy leaves invalid ones out.' },
    INVALID_INDEXES,
    judgeInvalidIndexes,
  ),
  attachedCheck(
    { id: 'objects.not-valid', severity: 'informs', title: 'Constraints that were never validated.' },
    NOT_VALID,
    judgeNotValid,
  ),
  attachedCheck(
    { id: 'objects.disabled-triggers', severity: 'informs', title: 'Triggers that do not fire by default.' },
    DISABLED_TRIGGERS,
    judgeDisabledTriggers,
  ),
  subscriptions,
  violationsCheck,
  applicationCheck,
];
