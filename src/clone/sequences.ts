import { NOTHING_EXCLUDED, isExcludedRelation } from '../postgres/excluded.ts';
import type { Excluded } from '../postgres/excluded.ts';
import { tableMatches } from '../postgres/filters.ts';
import type { RelationFilter } from '../postgres/filters.ts';
import { qualified, quoteLiteral } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';

export interface SequenceValue {
  readonly schema: string;
  readonly name: string;
  /** Decimal digits: a bigint. */
  readonly lastValue: string;
  readonly isCalled: boolean;
}

/** Sequences in one statement; more would make the parser slow. */
const CHUNK = 200;

/** Sequences outside of extensions and those of their configuration (pg_extension.extconfig), with the table that owns each. */
const SEQUENCES = `
SELECT c.oid::text AS oid, n.nspname AS schema, c.relname AS name, tn.nspname AS "tableSchema", t.relname AS "tableName"
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
  AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
LEFT JOIN pg_class t ON t.oid = d.refobjid LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't'
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
  AND (NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
       OR EXISTS (SELECT FROM pg_extension x WHERE c.oid = ANY (x.extconfig)))
ORDER BY 2, 3`;

function* chunks<T>(items: readonly T[], size: number): Generator<readonly T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}

/**
 * Reads the sequences' present values. They belong to no snapshot; read after the data they can only be ahead of it.
 * A sequence is part of the job when its own name is, or the table that owns it.
 */
export async function readSequences(
  source: Session,
  filter: RelationFilter,
  excluded: Excluded = NOTHING_EXCLUDED,
): Promise<SequenceValue[]> {
  const all = await source.query<{
    oid: string;
    schema: string;
    name: string;
    tableSchema: string | null;
    tableName: string | null;
  }>(SEQUENCES);
  const wanted = all.filter(
    (sequence) =>
      !isExcludedRelation(excluded, Number(sequence.oid)) &&
      (tableMatches(filter, sequence.schema, sequence.name) ||
        (sequence.tableSchema !== null &&
          sequence.tableName !== null &&
          tableMatches(filter, sequence.tableSchema, sequence.tableName))),
  );
  const values: SequenceValue[] = [];
  for (const chunk of chunks(wanted, CHUNK)) {
    const sql = chunk
      .map(
        (sequence, at) =>
          `SELECT ${at} AS at, last_value::text AS value, is_called AS called FROM ${qualified(sequence.schema, sequence.name)}`,
      )
      .join(' UNION ALL ');
    for (const row of await source.query<{ at: number; value: string; called: boolean }>(sql)) {
      const sequence = chunk[row.at];
      if (sequence !== undefined) {
        values.push({ schema: sequence.schema, name: sequence.name, lastValue: row.value, isCalled: row.called });
      }
    }
  }
  return values;
}

/** Statements that set sequences; many in one. Pure. */
export function sequenceStatements(values: readonly SequenceValue[]): string[] {
  return [...chunks(values, CHUNK)].map((chunk) => {
    const calls = chunk.map(
      (value) =>
        `setval(${quoteLiteral(qualified(value.schema, value.name))}::regclass, ${value.lastValue}, ${value.isCalled})`,
    );
    return `SELECT ${calls.join(', ')};`;
  });
}

/** Sets the target's sequences. @throws PgsluiceError when one is missing or may not be set. */
export async function writeSequences(target: Session, values: readonly SequenceValue[]): Promise<void> {
  for (const statement of sequenceStatements(values)) await target.run(statement);
}
