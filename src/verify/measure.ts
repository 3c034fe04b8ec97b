import { createHash } from 'node:crypto';
import type { Manifest, ManifestTable } from '../contract/manifest.ts';
import type { JobOptions } from '../contract/options.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import type { Pace } from '../pace.ts';
import { isTransient } from '../postgres/explain.ts';
import { largeObjectsMatch, tableMatches } from '../postgres/filters.ts';
import { isOwnObject } from '../postgres/own-objects.ts';
import type { Session } from '../postgres/session.ts';
import { listUnstablePartitions } from '../postgres/unstable-partitions.ts';
import { readServerVersion } from '../postgres/version.ts';
import { ENCODING_PROBE, HASH_PROBE, HASH_SINCE, checksumSql } from './checksum.ts';
import type { ChecksumMethod, ColumnFacts } from './checksum.ts';
import { hashObjects, objectBytes, objectIds } from './large-objects.ts';
import { contentInPieces } from './piecemeal.ts';
import { messageOf } from './rows.ts';
import type { Content } from './rows.ts';
import { chooseRelations, listRelations, ownRows, readableName } from './tables.ts';
import type { ComparedRelation } from './tables.ts';

export interface MeasureInput {
  /** Inside of the transaction whose moment is measured; a failed statement leaves it usable. */
  readonly session: Session;
  readonly options: JobOptions;
  readonly mode: 'counts' | 'full';
  readonly signal: AbortSignal;
  /** Awaited between two relations: where a pause takes hold. */
  readonly pace: () => Promise<void>;
  readonly onTable: (table: ManifestTable) => void;
  /** Of a gentle job: tables are read in pieces, each paid for. */
  readonly rate?: Pace;
}

/** What an archive's manifest says of its contents. */
export type Measured = Pick<Manifest, 'tables' | 'checksums' | 'largeObjects' | 'notMeasured'>;

/** Objects hashed in one statement. */
const BATCH = 500;

/** The method for a server that nobody has compared with another yet: what the other may not be able to repeat is left out. */
async function chooseMethod(session: Session): Promise<{ method: ChecksumMethod; probe: string | null }> {
  const [{ encoding } = { encoding: '' }] = await session.query<{ encoding: string }>(ENCODING_PROBE);
  const { num } = await readServerVersion(session);
  if (encoding !== 'UTF8') return { method: 'md5 utf8', probe: null };
  // The probe's sample text exists in UTF8 only.
  if (num < HASH_SINCE) return { method: 'md5', probe: null };
  const [row] = await session.query<{ probe: string }>(HASH_PROBE);
  return { method: 'hash', probe: row?.probe ?? null };
}

async function guarded<T>({ session, signal }: MeasureInput, work: () => Promise<T>): Promise<T> {
  throwIfAborted(signal);
  await session.run('SAVEPOINT measure');
  try {
    const result = await work();
    await session.run('RELEASE SAVEPOINT measure');
    return result;
  } catch (error) {
    throwIfAborted(signal);
    if (!session.usable || isTransient(error)) throw error;
    await session.run('ROLLBACK TO SAVEPOINT measure; RELEASE SAVEPOINT measure');
    throw error;
  }
}

/** Null where the statement fails for a reason of its own; the reason goes to `notMeasured`. */
async function attempt(
  input: MeasureInput,
  relation: ComparedRelation,
  method: ChecksumMethod | null,
  columns: readonly ColumnFacts[],
): Promise<Content | { readonly error: string }> {
  try {
    return await guarded(input, async () => {
      const { session, signal } = input;
      if (input.rate !== undefined)
        return await contentInPieces(session, relation, method, columns, {
          pace: input.rate,
          wait: input.pace,
          signal,
        });
      const [row] = await session.query<{ rows: string; checksum: string | null }>(
        checksumSql(method, ownRows(relation), columns, relation.condition),
      );
      if (row === undefined) throw new Error('an aggregate returned no row');
      return { rows: Number(row.rows), checksum: row.checksum };
    });
  } catch (error) {
    throwIfAborted(input.signal);
    if (!input.session.usable || isTransient(error)) throw error;
    return { error: messageOf(error) };
  }
}

function isContent(answer: Content | { readonly error: string }): answer is Content {
  return 'rows' in answer;
}

/** Columns whose text can be had, each as it can be had; the others are told of. */
async function readableColumns(
  input: MeasureInput,
  relation: ComparedRelation,
  method: ChecksumMethod,
  notMeasured: string[],
): Promise<ColumnFacts[]> {
  const good: ColumnFacts[] = [];
  for (const column of relation.columns) {
    const candidates = column.builtIn && column.type === 'bytea' ? [column, { ...column, digest: true }] : [column];
    let why = '';
    for (const candidate of candidates) {
      const answer = await attempt(input, relation, method, [candidate]);
      why = isContent(answer) ? '' : answer.error;
      if (why !== '') continue;
      good.push(candidate);
      break;
    }
    const name = `${readableName(relation.schema, relation.name)}.${readableName(null, column.name)}`;
    if (why !== '') notMeasured.push(`Column ${name} is not in its table's checksum: ${why}`);
  }
  return good;
}

async function measureTable(
  input: MeasureInput,
  relation: ComparedRelation,
  method: ChecksumMethod | null,
  notMeasured: string[],
): Promise<ManifestTable> {
  let columns: readonly ColumnFacts[] = method === null ? [] : relation.columns;
  let answer = await attempt(input, relation, method, columns);
  if (!isContent(answer) && method !== null) {
    const counted = await attempt(input, relation, null, []);
    if (isContent(counted)) {
      columns = await readableColumns(input, relation, method, notMeasured);
      answer = await attempt(input, relation, method, columns);
      // Nothing of its contents could be had, but its rows were counted.
      if (!isContent(answer)) answer = counted;
    }
  }
  const content = isContent(answer) ? answer : null;
  if (!isContent(answer)) {
    notMeasured.push(`${readableName(relation.schema, relation.name)} could not be measured: ${answer.error}`);
  }
  const checksum = content?.checksum ?? null;
  return {
    schema: relation.schema,
    name: relation.name,
    kind: relation.kind,
    tree: relation.tree,
    condition: relation.condition,
    rows: content?.rows ?? null,
    bytes: relation.sizeBytes,
    checksum,
    columns: checksum === null ? [] : [...columns],
  };
}

/**
 * Count and bytes of all large objects, and with `contents` one checksum over the md5 of each by its oid.
 * @throws PgsluiceError when one cannot be read.
 */
export async function measureLargeObjects(
  session: Session,
  contents: boolean,
): Promise<NonNullable<Measured['largeObjects']>> {
  const oids = await objectIds(session);
  const bytes = await objectBytes(session);
  if (!contents) return { count: oids.length, bytes, checksum: null };
  const sum = createHash('sha256');
  for (let at = 0; at < oids.length; at += BATCH) {
    const batch = oids.slice(at, at + BATCH);
    const hashes = await hashObjects(session, batch);
    for (const oid of batch) sum.update(`${oid} ${hashes.get(oid) ?? ''}\n`);
  }
  return { count: oids.length, bytes, checksum: sum.digest('hex') };
}

/**
 * Measures what an archive is about to hold, so that whoever restores it can hold it against that: rows and checksums of every
 * relation that a comparison would compare, and the large objects.
 * @throws PgsluiceError the cancellation, and what concerns more than one relation; what concerns one is told in `notMeasured`.
 */
export async function measureDatabase(input: MeasureInput): Promise<Measured> {
  const { session, options, mode, signal } = input;
  const { major } = await readServerVersion(session);
  const inScope = (await listRelations(session)).filter(
    (relation) => tableMatches(options, relation.schema, relation.name) && !isOwnObject({ type: 'TABLE', ...relation }),
  );
  const scope = chooseRelations({
    inScope,
    filter: options,
    schemaOnly: options.schemaOnly,
    unstable: await listUnstablePartitions(session, major),
  });
  const notMeasured = [...scope.left, ...scope.unable];
  const { method, probe } = mode === 'full' ? await chooseMethod(session) : { method: null, probe: null };
  const tables: ManifestTable[] = [];
  for (const relation of scope.compared) {
    await input.pace();
    throwIfAborted(signal);
    const table = await measureTable(input, relation, method, notMeasured);
    tables.push(table);
    input.onTable(table);
  }
  return {
    tables: tables.toSorted((a, b) => compareNames(a.schema, b.schema) || compareNames(a.name, b.name)),
    checksums: { method, probe },
    largeObjects: await largeObjects(input, notMeasured),
    notMeasured,
  };
}

async function largeObjects(input: MeasureInput, notMeasured: string[]): Promise<Measured['largeObjects']> {
  if (input.options.schemaOnly || !largeObjectsMatch(input.options)) return null;
  try {
    return await guarded(input, () => measureLargeObjects(input.session, input.mode === 'full'));
  } catch (error) {
    throwIfAborted(input.signal);
    if (!(error instanceof PgsluiceError) || !input.session.usable || isTransient(error)) throw error;
    notMeasured.push(`Large objects could not be measured: ${error.message}`);
    return null;
  }
}

function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
