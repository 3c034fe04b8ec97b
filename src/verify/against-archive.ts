import PQueue from 'p-queue';
import type { JobEventBody } from '../contract/event.ts';
import type { Manifest, ManifestTable } from '../contract/manifest.ts';
import type { JobOptions } from '../contract/options.ts';
import type { Difference, Verification } from '../contract/report.ts';
import { throwIfAborted } from '../errors.ts';
import { dumpArchive } from '../postgres/archive.ts';
import type { Archive, ArchiveEntry } from '../postgres/archive.ts';
import { largeObjectsMatch, tableDataMatches, tableMatches } from '../postgres/filters.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { PgTools } from '../postgres/tools.ts';
import { readServerVersion } from '../postgres/version.ts';
import { compareArchives, entryName, extraDifference, missingDifference, pairDifference } from './catalogue.ts';
import { ENCODING_PROBE, HASH_PROBE, checksumSql } from './checksum.ts';
import type { ChecksumMethod, ColumnFacts } from './checksum.ts';
import { Findings } from './findings.ts';
import { withoutSameGrants } from './mapped-grants.ts';
import { measureLargeObjects } from './measure.ts';
import { countText, messageOf, rethrowFatal, withRetries } from './rows.ts';
import { PRESENT, compareSequenceValues, readValues, valuesByName } from './sequences.ts';
import type { CopiedSequence } from './sequences.ts';
import { settleFromArchive } from './settle-archive.ts';
import { TargetSessions } from './sides.ts';
import { listRelations, ownRows, readableName, relationKey } from './tables.ts';
import type { RelationFacts } from './tables.ts';
import type { AcceptedRefusal } from './verify.ts';
import { OUTSIDE, addAbsent, asCompared, asMapped, comparesGrants, withoutOwn } from './verify.ts';

function asColumn({ digest, ...column }: ManifestTable['columns'][number]): ColumnFacts {
  return digest === true ? { ...column, digest } : column;
}

/** A table as its import counted it. */
export interface LoadedRows {
  readonly schema: string;
  readonly name: string;
  readonly rows: number;
  /** A partitioned table has put the rows where it wanted. */
  readonly routed: boolean;
  /** The table was there before, perhaps with rows of its own. */
  readonly existed: boolean;
}

export interface AgainstArchiveInput {
  readonly target: ConnectionSettings;
  readonly connections: { readonly target: number };
  readonly options: JobOptions;
  readonly mode: 'counts' | 'full';
  readonly tools: PgTools;
  readonly workDir: string;
  readonly signal: AbortSignal;
  /** The archive's definitions as they were brought to the target. */
  readonly archive: Archive;
  /** Of the server that was dumped. */
  readonly sourceMajor: number;
  /** null: nothing but the archive itself says what it holds. */
  readonly manifest: Manifest | null;
  readonly loaded: readonly LoadedRows[];
  readonly sequences: readonly CopiedSequence[];
  /** Large objects and their bytes as they were written. */
  readonly largeObjects: { readonly objects: number; readonly bytes: number };
  readonly accepted: readonly AcceptedRefusal[];
  emit(event: JobEventBody): void;
}

const byName = (a: { schema: string; name: string }, b: { schema: string; name: string }): number =>
  a.schema < b.schema ? -1 : a.schema > b.schema ? 1 : a.name < b.name ? -1 : a.name > b.name ? 1 : 0;

/**
 * Compares a target with the archive that filled it: the objects with the archive's own definitions, rows and contents with what
 * its manifest says the source had, or without one the rows with those that were loaded. Changes nothing.
 * @throws PgsluiceError for what ends the comparison as a whole, the cancellation among it.
 */
export async function verifyAgainstArchive(input: AgainstArchiveInput): Promise<Verification> {
  const started = Date.now();
  throwIfAborted(input.signal);
  const findings = new Findings();
  const sessions = new TargetSessions(input.target, input.connections.target, input.signal);
  const run = new Comparison(input, sessions, findings);
  try {
    // Before any session of ours: the target may allow a single connection.
    const there = await dumpArchive({
      tools: input.tools,
      settings: input.target,
      snapshotId: null,
      filter: input.options,
      noOwner: input.options.noOwner,
      noAcl: input.options.noAcl,
      workDir: input.workDir,
      signal: input.signal,
    });
    const objectsCompared = await run.objects(there);
    await run.contents();
    const sequencesCompared = await run.sequences();
    const largeObjectsCompared = await run.largeObjects();
    addAbsent(findings);
    findings.note(OUTSIDE);
    const { differences } = findings;
    return {
      mode: input.mode,
      verified: differences.length === 0 && !findings.incomplete,
      tables: findings.tables.toSorted(byName),
      sequencesCompared,
      largeObjectsCompared,
      objectsCompared,
      differences,
      notChecked: findings.notChecked,
      seconds: (Date.now() - started) / 1000,
    };
  } finally {
    await sessions.close();
  }
}

class Comparison {
  readonly #input: AgainstArchiveInput;
  readonly #sessions: TargetSessions;
  readonly #findings: Findings;

  constructor(input: AgainstArchiveInput, sessions: TargetSessions, findings: Findings) {
    this.#input = input;
    this.#sessions = sessions;
    this.#findings = findings;
  }

  /** Names every object that is missing, extra or different. @returns how many of the archive's were compared. */
  async objects(dumped: Archive): Promise<number> {
    const { options, signal, sourceMajor } = this.#input;
    const findings = this.#findings;
    if (options.dataOnly) {
      findings.note('Objects were not compared: the job moves data only.');
      return 0;
    }
    const targetMajor = await this.#sessions.withSession(async (session) => (await readServerVersion(session)).major);
    const source = asMapped(withoutOwn(this.#input.archive), options, false);
    const target = asCompared(withoutOwn(dumped), options);
    const entries = new Map(source.entries.map((entry) => [entry.dumpId, entry]));
    const everybodys = options.noOwner ? this.#input.target.user : null;
    const compared = compareArchives(source, target);
    // A server of 17 knows a privilege more than older ones, which ALL gives as well.
    const byMeaning = comparesGrants(options) || (sourceMajor < 17 && targetMajor >= 17);
    const comparison = byMeaning
      ? withoutSameGrants(compared, {
          targetMajor,
          ownerOf: (entry) =>
            everybodys ??
            entry.dependencies
              .map((id) => entries.get(id)?.owner)
              .find((owner) => owner !== undefined && owner !== null) ??
            null,
        })
      : compared;
    const before = findings.differences.length;
    for (const entry of comparison.missing) this.#differ(entry, missingDifference(entry));
    for (const entry of comparison.extra) this.#differ(entry, extraDifference(entry));
    let settled = 0;
    const twins = this.#sessions.withSession;
    for (const pair of comparison.different) {
      throwIfAborted(signal);
      const context = { target: twins, twins, signal, sourceMajor, targetMajor };
      const settlement = await settleFromArchive(context, pair);
      if (settlement.verdict === 'different') this.#differ(pair.source, pairDifference(pair));
      else if (settlement.verdict === 'same') {
        settled += 1;
        if (settlement.note !== undefined) findings.note(settlement.note);
      } else {
        findings.fail(
          `${pair.source.type} ${entryName(pair.source)} is printed differently by the two servers, and whether it means the same could not be decided on the target: ${settlement.reason}.`,
        );
      }
    }
    const differing = findings.differences.length - before;
    this.#input.emit({
      type: 'log',
      level: differing > 0 ? 'error' : 'info',
      message:
        `compared ${comparison.compared.toLocaleString('en-US')} objects with the archive: ` +
        (differing === 0 ? 'none missing, extra or different' : `${differing} missing, extra or different`) +
        (settled === 0 ? '' : `; ${settled} are only printed differently by the two servers`),
    });
    return comparison.compared;
  }

  #differ(entry: ArchiveEntry, difference: Difference): void {
    const refusal = this.#input.accepted.find((one) => one.kind === entry.type && one.name === entry.name);
    if (refusal === undefined) this.#findings.differ(difference);
    else this.#findings.note(`${entry.type} ${difference.name} is not as in the archive: ${refusal.reason}`);
  }

  /** Rows and checksums against the manifest; rows against what was loaded where it says nothing. */
  async contents(): Promise<void> {
    const { options, manifest, loaded, mode } = this.#input;
    const findings = this.#findings;
    if (options.schemaOnly) {
      findings.note('Rows, sequence values and large objects: the job moves the schema only.');
      return;
    }
    const relations = await this.#sessions.withSession(listRelations);
    this.#populated(relations);
    const told = (manifest?.tables ?? []).filter(
      (table) =>
        table.rows !== null &&
        (table.kind === 'table'
          ? tableDataMatches(options, table.schema, table.name) || table.tree
          : tableMatches(options, table.schema, table.name) && options.excludeTableData.length === 0),
    );
    const method = mode === 'full' ? await this.#method() : null;
    const here = new Map(relations.map((relation) => [relationKey(relation), relation]));
    const roots = new Set(told.filter(({ tree }) => tree).map(relationKey));
    const covered = new Set(told.map(relationKey));
    const rest = loaded.filter((table) => !covered.has(relationKey(table)) && !(table.routed && roots.size > 0));
    const queue = new PQueue({ concurrency: Math.max(1, Math.min(options.tableJobs, this.#input.connections.target)) });
    await Promise.all([
      ...told.map((table) => queue.add(() => this.#against(table, method, here.get(relationKey(table))))),
      ...this.#loadedOnly(rest).map((table) => queue.add(() => this.#counted(table))),
    ]);
    throwIfAborted(this.#input.signal);
    if (manifest === null) {
      findings.note(
        'Contents were not compared: the archive has no manifest of pgsluice that says what the source had. The rows of each table were counted while they were loaded, and again on the target.',
      );
    } else {
      for (const sentence of manifest.notMeasured) findings.note(sentence);
      if (manifest.measured === 'none') findings.note('The export measured nothing: rows were only counted.');
      else if (method === null) findings.note('Contents were not compared: rows were only counted.');
    }
  }

  /** Routed partitions by themselves say nothing, and tables that held rows before hold more. */
  #loadedOnly(rest: readonly LoadedRows[]): LoadedRows[] {
    const routed = rest.filter((table) => table.routed);
    const existed = rest.filter((table) => table.existed && !table.routed);
    const names = (list: readonly LoadedRows[]): string =>
      list.map(({ schema, name }) => readableName(schema, name)).join(', ');
    if (routed.length > 0) {
      this.#findings.note(
        `Rows of these partitions were put where the target's partitioned table wanted them, and were only counted while they were loaded: ${names(routed)}.`,
      );
    }
    if (existed.length > 0) {
      this.#findings.note(`Tables that the target had before may hold more rows than were loaded: ${names(existed)}.`);
    }
    return rest.filter((table) => !table.routed && !table.existed);
  }

  /** null where the target hashes otherwise than the source, or nothing was measured. */
  async #method(): Promise<ChecksumMethod | null> {
    const { manifest } = this.#input;
    const method = manifest?.checksums.method ?? null;
    if (manifest === null || method === null) return null;
    const [{ encoding } = { encoding: '' }] = await this.#sessions.withSession((session) =>
      session.query<{ encoding: string }>(ENCODING_PROBE),
    );
    if (method === 'md5 utf8') return method;
    if (encoding !== manifest.source.encoding) {
      this.#findings.fail(
        `Contents could not be compared: the source stored text in ${manifest.source.encoding} and the target does in ${encoding}.`,
      );
      return null;
    }
    if (method === 'md5') return method;
    const [row] = await this.#sessions.withSession((session) => session.query<{ probe: string }>(HASH_PROBE));
    if (row !== undefined && row.probe === manifest.checksums.probe) return method;
    this.#findings.fail('Contents could not be compared: the target computes other hashes than the source did.');
    return null;
  }

  async #against(
    table: ManifestTable,
    method: ChecksumMethod | null,
    relation: RelationFacts | undefined,
  ): Promise<void> {
    const kind = table.kind.toUpperCase();
    const name = readableName(table.schema, table.name);
    const expected = { rows: table.rows ?? 0, checksum: method === null ? null : table.checksum };
    const began = Date.now();
    if (relation === undefined) {
      this.#findings.absent.push({ kind, name, change: 'missing', source: countText(expected.rows), target: null });
      return;
    }
    if (!relation.populated) return;
    const use = expected.checksum === null ? null : method;
    const found = await this.#read(
      name,
      checksumSql(use, ownRows(table), table.columns.map(asColumn), table.condition),
    );
    if (found === null) return;
    if (use === null && method !== null) this.#findings.note(`${name}: its rows were only counted, as in the export.`);
    this.#judge(table, expected, found, (Date.now() - began) / 1000);
  }

  async #counted(table: LoadedRows): Promise<void> {
    const began = Date.now();
    const from = ownRows({ ...table, tree: false });
    const found = await this.#read(readableName(table.schema, table.name), checksumSql(null, from, [], ''));
    if (found === null) return;
    this.#judge({ ...table, kind: 'table' }, { rows: table.rows, checksum: null }, found, (Date.now() - began) / 1000);
  }

  async #read(name: string, sql: string): Promise<{ rows: number; checksum: string | null } | null> {
    const { signal } = this.#input;
    try {
      const [row] = await withRetries(signal, () =>
        this.#sessions.withSession((session) => session.query<{ rows: string; checksum: string | null }>(sql)),
      );
      if (row === undefined) throw new Error('an aggregate returned no row');
      return { rows: Number(row.rows), checksum: row.checksum };
    } catch (error) {
      rethrowFatal(error, signal);
      this.#findings.fail(`${name} could not be compared: ${messageOf(error)}`);
      return null;
    }
  }

  #judge(
    table: { readonly schema: string; readonly name: string; readonly kind: ManifestTable['kind'] },
    expected: { readonly rows: number; readonly checksum: string | null },
    found: { readonly rows: number; readonly checksum: string | null },
    seconds: number,
  ): void {
    const name = readableName(table.schema, table.name);
    const sameRows = expected.rows === found.rows;
    const equal = sameRows && expected.checksum === found.checksum;
    this.#findings.tables.push({
      schema: table.schema,
      name: table.name,
      sourceRows: expected.rows,
      targetRows: found.rows,
      sourceChecksum: expected.checksum,
      targetChecksum: found.checksum,
      equal,
      seconds,
    });
    const line = equal
      ? `verified ${name}: ${countText(found.rows)}${found.checksum === null ? '' : ', checksums equal'}`
      : `${name} differs: ${countText(expected.rows)} in the archive, ${countText(found.rows)} on the target${sameRows ? ', checksums differ' : ''}`;
    this.#input.emit({ type: 'log', level: equal ? 'info' : 'error', message: line });
    if (equal) return;
    const view = table.kind === 'materialized view';
    const text = (one: { rows: number; checksum: string | null }): string =>
      !sameRows || one.checksum === null ? countText(one.rows) : `${countText(one.rows)}, checksum ${one.checksum}`;
    this.#findings.differ({
      kind: view ? 'MATERIALIZED VIEW CONTENT' : sameRows ? 'CONTENT' : 'ROWS',
      name,
      change: 'different',
      source: text(expected),
      target: text(found),
    });
  }

  /** A materialized view holds rows exactly where the archive refreshes it. */
  #populated(relations: readonly RelationFacts[]): void {
    if (this.#input.options.dataOnly) return;
    const { entries } = this.#input.archive;
    const refreshed = new Set(
      entries
        .filter(({ type }) => type === 'MATERIALIZED VIEW DATA')
        .map(({ schema, name }) => relationKey({ schema: schema ?? '', name })),
    );
    const views = new Set(
      entries
        .filter(({ type }) => type === 'MATERIALIZED VIEW')
        .map(({ schema, name }) => relationKey({ schema: schema ?? '', name })),
    );
    for (const relation of relations) {
      const key = relationKey(relation);
      if (relation.relkind !== 'm' || !views.has(key) || refreshed.has(key) === relation.populated) continue;
      const words = (populated: boolean): string => (populated ? 'populated' : 'not populated');
      this.#findings.differ({
        kind: 'MATERIALIZED VIEW CONTENT',
        name: readableName(relation.schema, relation.name),
        change: 'different',
        source: words(refreshed.has(key)),
        target: words(relation.populated),
      });
    }
  }

  async sequences(): Promise<number> {
    const { options, sequences, signal } = this.#input;
    if (options.schemaOnly) return 0;
    try {
      const values = await withRetries(signal, () =>
        this.#sessions.withSession(async (session) => {
          const rows = await session.query<{ schema: string; name: string }>(PRESENT);
          const present = new Set(rows.map(relationKey));
          return readValues(
            session,
            sequences.filter((sequence) => present.has(relationKey(sequence))),
          );
        }),
      );
      return compareSequenceValues(sequences, valuesByName(sequences), values, this.#findings);
    } catch (error) {
      rethrowFatal(error, signal);
      this.#findings.fail(`Sequence values could not be compared: ${messageOf(error)}`);
      return 0;
    }
  }

  async largeObjects(): Promise<number> {
    const { options, manifest, mode, signal } = this.#input;
    const findings = this.#findings;
    if (options.schemaOnly) return 0;
    if (!largeObjectsMatch(options)) {
      findings.note(
        'Large objects belong to no schema and were not compared: the job moves chosen schemas or tables only.',
      );
      return 0;
    }
    const told = manifest?.largeObjects ?? null;
    const full = mode === 'full' && told !== null && told.checksum !== null;
    try {
      const found = await withRetries(signal, () =>
        this.#sessions.withSession(async (session) => {
          await session.run('BEGIN');
          try {
            return await measureLargeObjects(session, full);
          } finally {
            if (!session.lost) await session.run('ROLLBACK');
          }
        }),
      );
      const { objects, bytes } = this.#input.largeObjects;
      const expected = told ?? { count: objects, bytes, checksum: null };
      const text = (one: { count: number; bytes: number; checksum: string | null }): string =>
        `${one.count} objects, ${one.bytes} bytes${one.checksum === null ? '' : `, checksum ${one.checksum}`}`;
      const compared = { ...expected, checksum: full ? expected.checksum : null };
      if (text(compared) !== text(found)) {
        findings.differ({
          kind: 'LARGE OBJECT DATA',
          name: 'all large objects',
          change: 'different',
          source: text(compared),
          target: text(found),
        });
      }
      if (found.count > 0) {
        findings.note(
          full
            ? 'Owners, grants and comments of large objects were not compared.'
            : 'Large objects and their bytes were counted; their contents, owners, grants and comments were not compared.',
        );
      }
      return found.count;
    } catch (error) {
      rethrowFatal(error, signal);
      findings.fail(`Large objects could not be compared: ${messageOf(error)}`);
      return 0;
    }
  }
}
