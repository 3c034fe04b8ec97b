import { qualified, quoteIdent } from '../postgres/quote.ts';
import { informed, passed, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { userSchema } from './catalog.ts';
import { inScope } from './scope.ts';
import { NAMED, count, listNames } from './words.ts';

/** A collation, or the database's default, whose library is another than the one its indexes were built with. */
export interface OutdatedCollation {
  /** null: the database's default. */
  readonly collation: { readonly schema: string; readonly name: string } | null;
  readonly recorded: string;
  readonly actual: string;
}

/** An index that sorts by such a collation. */
export interface AffectedIndex {
  readonly schema: string;
  readonly name: string;
  /** The table it belongs to. */
  readonly relation: string;
  readonly unique: boolean;
}

export interface CollationVersions {
  readonly database: string;
  readonly outdated: readonly OutdatedCollation[];
  readonly indexes: readonly AffectedIndex[];
}

const collationName = ({ collation }: OutdatedCollation, database: string): string =>
  collation === null ? `the default of the database ${database}` : qualified(collation.schema, collation.name);

/** Statements that make the indexes right again and say so; those of the default collation exist from 15 on. */
function refresh(facts: CollationVersions): string[] {
  return [
    ...facts.indexes.slice(0, NAMED).map((i) => `REINDEX INDEX CONCURRENTLY ${qualified(i.schema, i.name)};`),
    ...(facts.indexes.length > NAMED
      ? [`-- and ${facts.indexes.length - NAMED} more indexes, before what follows`]
      : []),
    ...facts.outdated.map(({ collation }) =>
      collation === null
        ? `ALTER DATABASE ${quoteIdent(facts.database)} REFRESH COLLATION VERSION;`
        : `ALTER COLLATION ${qualified(collation.schema, collation.name)} REFRESH VERSION;`,
    ),
  ];
}

/**
 * After an upgrade of glibc or ICU, indexes on text are out of order where the new library sorts otherwise: rows are not found,
 * and a unique one lets duplicates in, which the target refuses (PostgreSQL documentation, ALTER COLLATION, "Notes"). Pure.
 */
export function judgeCollationVersions(facts: CollationVersions): Verdict {
  const { outdated, indexes } = facts;
  if (outdated.length === 0) return passed('Every collation sorts by the library its indexes were built with.');
  const changed = outdated.map(
    (one) => `${collationName(one, facts.database)} (from ${one.recorded} to ${one.actual})`,
  );
  const library = `The library behind ${listNames(changed)} has changed`;
  if (indexes.length === 0) return informed(`${library}; no index of the job sorts by it.`, refresh(facts).join('\n'));
  const unique = indexes.filter((index) => index.unique);
  const words = (one: AffectedIndex): string => `${quoteIdent(one.name)} on ${qualified(one.schema, one.relation)}`;
  const duplicates =
    unique.length === 0
      ? ''
      : ` ${count(unique.length, 'unique one')} may have let duplicates in, which the target would refuse: ${listNames(unique.map(words))}.`;
  return warned(
    `${library} since ${count(indexes.length, 'index', 'indexes')} on text ${indexes.length === 1 ? 'was' : 'were'} built, so rows may not be found by ${indexes.length === 1 ? 'it' : 'them'}: ${listNames(indexes.map(words))}.${duplicates} The target's are built anew and right.`,
    ['-- on the source:', ...refresh(facts)].join('\n'),
  );
}

/** The version of the database's default collation is recorded from 15 on; datcollversion is null where it has none. */
const OUTDATED = (major: number): string => `
SELECT c.oid, CASE WHEN c.oid <> 100 THEN json_build_object('schema', n.nspname, 'name', c.collname) END AS collation,
       v.recorded, v.actual
FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace, LATERAL (
  SELECT c.collversion AS recorded, pg_collation_actual_version(c.oid) AS actual WHERE c.oid <> 100 AND c.collversion IS NOT NULL
  ${
    major >= 15
      ? `UNION ALL SELECT d.datcollversion, pg_database_collation_actual_version(d.oid) FROM pg_database d
  WHERE c.oid = 100 AND d.datname = current_database()`
      : ''
  }
) v WHERE v.recorded <> v.actual ORDER BY c.oid <> 100, n.nspname, c.collname`;

const AFFECTED = `
SELECT n.nspname AS schema, x.relname AS name, t.relname AS relation, i.indisunique AS unique
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = x.relnamespace
WHERE i.indcollation::oid[] && $1::oid[] AND x.relkind = 'i' AND ${userSchema('n')}
ORDER BY i.indisunique DESC, n.nspname, x.relname`;

export const collationVersions: Check = {
  id: 'server.collation-versions',
  severity: 'warns',
  title: "The source's indexes on text are in the order of the library that is installed there now.",
  needs: 'source',
  run: async (source, { options }) => {
    const rows = await source.session.query<OutdatedCollation & { oid: number } & Record<string, unknown>>(
      OUTDATED(source.version.major),
    );
    const affected =
      rows.length === 0
        ? []
        : await source.session.query<AffectedIndex & Record<string, unknown>>(AFFECTED, [rows.map((row) => row.oid)]);
    const indexes = affected.filter((i) => inScope(options, { schema: i.schema, name: i.relation, relation: true }));
    // A collation that nothing of the job sorts by is not worth a word; every server has hundreds.
    const used = indexes.length > 0 || rows.some((row) => row.collation === null) ? rows : [];
    return judgeCollationVersions({ database: source.identity.database, outdated: used, indexes });
  },
};
