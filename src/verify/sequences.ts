import type { Archive } from '../postgres/archive.ts';
import { NOTHING_EXCLUDED, isExcludedRelation } from '../postgres/excluded.ts';
import type { Excluded } from '../postgres/excluded.ts';
import { qualified, quoteLiteral } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import type { Findings } from './findings.ts';
import { messageOf, rethrowFatal, withRetries } from './rows.ts';
import type { Sides } from './sides.ts';
import { readableName, relationKey } from './tables.ts';

interface SequenceName {
  readonly schema: string;
  readonly name: string;
}

export interface SequenceValue {
  readonly lastValue: string;
  readonly isCalled: boolean;
}

/** A sequence as the copy read it from the source. */
export interface CopiedSequence extends SequenceName, SequenceValue {}

/** pg_sequences lacks is_called, so every sequence is read by itself, this many a statement. */
const BATCH = 200;

const SEQUENCES = `
SELECT c.oid::int8::text AS oid, n.nspname AS schema, c.relname AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't'
  AND (c.oid = ANY ($1::oid[]) OR EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig)))
ORDER BY 2, 3`;

export const PRESENT = `
SELECT n.nspname AS schema, c.relname AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't'`;

function valuesSql(names: readonly SequenceName[]): string {
  return names
    .map(
      ({ schema, name }) =>
        `SELECT ${quoteLiteral(schema)}::text AS schema, ${quoteLiteral(name)}::text AS name, last_value::text AS last, is_called AS called FROM ${qualified(schema, name)}`,
    )
    .join(' UNION ALL ');
}

export async function readValues(
  session: Session,
  names: readonly SequenceName[],
): Promise<Map<string, SequenceValue>> {
  const values = new Map<string, SequenceValue>();
  for (let at = 0; at < names.length; at += BATCH) {
    const rows = await session.query<{ schema: string; name: string; last: string; called: boolean }>(
      valuesSql(names.slice(at, at + BATCH)),
    );
    for (const row of rows) values.set(relationKey(row), { lastValue: row.last, isCalled: row.called });
  }
  return values;
}

export function valuesByName(sequences: readonly CopiedSequence[]): Map<string, SequenceValue> {
  return new Map(sequences.map((sequence) => [relationKey(sequence), sequence]));
}

export function sequenceText(value: SequenceValue): string {
  return `last_value ${value.lastValue}, is_called ${value.isCalled}`;
}

/** Names every sequence whose state differs. A sequence that the target lacks is the catalogue's to name. Pure. */
export function compareSequenceValues(
  names: readonly SequenceName[],
  source: ReadonlyMap<string, SequenceValue>,
  target: ReadonlyMap<string, SequenceValue>,
  findings: Findings,
): number {
  let compared = 0;
  for (const name of names) {
    const here = source.get(relationKey(name));
    const there = target.get(relationKey(name));
    const label = readableName(name.schema, name.name);
    if (here === undefined) {
      findings.fail(`The value of sequence ${label} was not read on the source and could not be compared.`);
      continue;
    }
    if (there === undefined) {
      findings.absent.push({
        kind: 'SEQUENCE',
        name: label,
        change: 'missing',
        source: sequenceText(here),
        target: null,
      });
      continue;
    }
    compared += 1;
    if (here.lastValue === there.lastValue && here.isCalled === there.isCalled) continue;
    findings.differ({
      kind: 'SEQUENCE VALUE',
      name: label,
      change: 'different',
      source: sequenceText(here),
      target: sequenceText(there),
    });
  }
  return compared;
}

/**
 * Compares last_value and is_called of every sequence of the source's archive. Sequences obey no snapshot (PostgreSQL
 * documentation, 9.17): on a source in use they have moved on since the copy, so that the values which the copy read are what
 * the target is held against; without a copy it is the values of this moment. For the same reason `recorded` are the target's
 * values as they were right after the copy, where it is in use itself. Answers how many were compared.
 */
export async function compareSequences(
  sides: Sides,
  archive: Archive,
  findings: Findings,
  copied: readonly CopiedSequence[] | null,
  recorded: readonly CopiedSequence[] | null = null,
  excluded: Excluded = NOTHING_EXCLUDED,
): Promise<number> {
  const oids = archive.entries.filter((entry) => entry.type === 'SEQUENCE').map((entry) => entry.oid);
  try {
    return await withRetries(sides.signal, async () => {
      const listed = await sides.source((session) =>
        session.query<SequenceName & { oid: string; [column: string]: unknown }>(SEQUENCES, [oids]),
      );
      const names = listed.filter(({ oid }) => !isExcludedRelation(excluded, Number(oid)));
      const here = copied === null ? await sides.source((session) => readValues(session, names)) : valuesByName(copied);
      const there =
        recorded === null
          ? await sides.target(async (session) => {
              const rows = await session.query<SequenceName & { oid?: string }>(PRESENT);
              const present = new Set(rows.map(relationKey));
              return readValues(
                session,
                names.filter((name) => present.has(relationKey(name))),
              );
            })
          : valuesByName(recorded);
      return compareSequenceValues(names, here, there, findings);
    });
  } catch (error) {
    rethrowFatal(error, sides.signal);
    findings.fail(`Sequence values could not be compared: ${messageOf(error)}`);
    return 0;
  }
}
