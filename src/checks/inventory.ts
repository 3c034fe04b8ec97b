import { qualified } from '../postgres/quote.ts';
import { userSchema } from './catalog.ts';
import type { Relation } from './catalog.ts';
import { informed, passed, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { inScope, largeObjectsInScope } from './scope.ts';
import { count, formatBytes, listNames } from './words.ts';

/** Features of one relation that a reader of the report may want to know of. */
export interface RelationFeatures {
  readonly schema: string;
  readonly name: string;
  readonly generated: number;
  readonly identity: number;
  readonly inherits: boolean;
  readonly exclusions: number;
}

export interface Inventory {
  readonly relations: readonly Relation[];
  readonly features: readonly RelationFeatures[];
  readonly largeObjects: number;
  readonly largeObjectBytes: number;
}

export function judgeInventory(inventory: Inventory): Verdict {
  const { relations, features } = inventory;
  const of = (test: (r: Relation) => boolean): Relation[] => relations.filter(test);
  const sum = (value: (f: RelationFeatures) => number): number => features.reduce((n, f) => n + value(f), 0);
  const matviews = of((r) => r.kind === 'm');
  const unlogged = of((r) => r.kind === 'r' && r.persistence === 'u');
  const figures: readonly (readonly [number, string, string?])[] = [
    [of((r) => r.kind === 'r' && !r.partition).length, 'table'],
    [of((r) => r.kind === 'p').length, 'partitioned table'],
    [of((r) => r.kind === 'r' && r.partition).length, 'partition'],
    [unlogged.length, 'unlogged table'],
    [of((r) => r.kind === 'f').length, 'foreign table'],
    [of((r) => r.kind === 'v').length, 'view'],
    [matviews.length, 'materialized view'],
    [of((r) => r.kind === 'S').length, 'sequence'],
    [features.filter((f) => f.inherits).length, 'inheriting table'],
    [sum((f) => f.generated), 'generated column'],
    [sum((f) => f.identity), 'identity column'],
    [sum((f) => f.exclusions), 'exclusion constraint'],
  ];
  const parts = figures.filter(([n]) => n > 0).map(([n, one, many]) => count(n, one, many));
  if (inventory.largeObjects > 0)
    parts.push(`${count(inventory.largeObjects, 'large object')} (${formatBytes(inventory.largeObjectBytes)})`);
  if (parts.length === 0)
    return warned(
      'The job moves no table: the source is empty or the filters leave everything out.',
      'Check the database in the source URL and the filters.',
    );
  const unpopulated = matviews.filter((r) => !r.populated).map((r) => qualified(r.schema, r.name));
  const notes = [
    ...(unpopulated.length > 0 ? [`Not populated, and left so: ${listNames(unpopulated)}.`] : []),
    ...(unlogged.length > 0 ? ['Rows of unlogged tables are copied too.'] : []),
    ...(of((r) => r.kind === 'f').length > 0 ? ['Rows of foreign tables stay where they are.'] : []),
  ];
  const found = [`${parts.join(', ')}.`, ...notes].join(' ');
  return notes.length > 0 ? informed(found) : passed(found);
}

const FEATURES = `
SELECT n.nspname AS schema, c.relname AS name,
  (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND COALESCE(to_jsonb(a)->>'attgenerated', '') <> '')::int AS generated,
  (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity <> '')::int AS identity,
  NOT c.relispartition AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid) AS inherits,
  (SELECT count(*) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'x')::int AS exclusions
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' AND ${userSchema('n')}`;

const LARGE_OBJECTS = `
SELECT (SELECT count(*) FROM pg_largeobject_metadata)::float8 AS n, pg_table_size('pg_catalog.pg_largeobject')::float8 AS bytes`;

export const inventoryCheck: Check = {
  id: 'objects.inventory',
  severity: 'informs',
  title: 'What is moved, by kind.',
  needs: 'source',
  run: async (source, { options }) => {
    const moved = (r: { schema: string; name: string }): boolean =>
      inScope(options, { schema: r.schema, name: r.name, relation: true });
    const features = await source.session.query<RelationFeatures & Record<string, unknown>>(FEATURES);
    const large = await source.one<{ n: number; bytes: number }>(LARGE_OBJECTS);
    return judgeInventory({
      relations: (await source.relations()).filter(moved),
      features: features.filter(moved),
      largeObjects: largeObjectsInScope(options) ? large.n : 0,
      largeObjectBytes: large.bytes,
    });
  },
};
