import type { Report, RestoreProblem } from '../contract/report.ts';
import type { Archive, ArchiveEntry } from '../postgres/archive.ts';
import type { Session } from '../postgres/session.ts';
import type { SourceTable } from './catalogue.ts';
import type { CloneOutcome } from './clone.ts';
import type { SequenceValue } from './sequences.ts';

export interface TableIdentity {
  /** pg_class.oid on the source. */
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** Where the target routes the rows anew: they went into this table instead of the partition. */
  readonly via: { readonly schema: string; readonly name: string } | null;
}

/** A table whose rows stand in the target for good, with the snapshot of the source that they are. */
export interface CopiedTable {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** `pg_current_snapshot()` of the source's transaction, as text. */
  readonly snapshot: string;
  readonly rows: number;
  /** Of COPY data that passed through the agent. */
  readonly bytes: number;
}

/** What a live job knows and a copy does not: how its progress is kept in the target. */
export interface LiveCopyContext {
  readonly job: string;
  /** What `storeArchive` was given last; null when the target's schema does not stand yet. */
  readonly archive: string | null;
  /** Tables with a record in the target. Asked once an earlier run of the job can write no more of them. */
  readCopied(target: Session): Promise<readonly CopiedTable[]>;
  /** May be called inside of an open transaction of `target`, and is then part of it. */
  storeArchive(target: Session, json: string): Promise<void>;
  /**
   * Asked right before the first of these tables is copied: when it resolves, every change that a later snapshot of one of them
   * does not hold is sent. A table may have been made after the publication and before the schema was read.
   */
  publish(tables: readonly SourceTable[]): Promise<void>;
  /**
   * SQL that is run in the target's transaction of a table's rows, after them; replaces an older record of the table. It has
   * to fail where another agent has taken the job over.
   */
  recordTable(table: TableIdentity, snapshot: string, moved: { readonly rows: number; readonly bytes: number }): string;
}

export interface ForeignKeyName {
  readonly schema: string;
  readonly table: string;
  readonly name: string;
}

export interface Finished {
  /** Foreign keys that stand NOT VALID, because their rows are checked after the hand-over. */
  readonly unvalidated: readonly ForeignKeyName[];
  /** Refusals without harm. */
  readonly problems: readonly RestoreProblem[];
  readonly counts: {
    readonly foreignKeys: number;
    readonly triggers: number;
    readonly rules: number;
    readonly policies: number;
    readonly privileges: number;
    readonly sequences: number;
    /** Materialized views that could not be refreshed before. */
    readonly refreshed: number;
    readonly others: number;
    /** Round trips that all of it took. */
    readonly roundTrips: number;
  };
}

/**
 * A clone in stages, as a live job needs it: schema → copy → buildRest → (following; addTable, replaceArchive) → refreshViews
 * → finish → validateConstraints. Every stage may be cut off and is then taken up by a new StagedClone of the same job.
 */
export interface StagedClone {
  /**
   * Tables of the job as the source has them now, that can be published: ordinary tables and leaves of partition trees.
   * Configuration tables of extensions are not among them: they are copied once and not followed.
   */
  listTables(): Promise<SourceTable[]>;
  /**
   * At first: empties the target where the context says so, makes roles and pre-data there, stores the archive. Taken up: takes
   * the stored archive. @throws PgsluiceError RESTORE_REFUSED, SOURCE_SCHEMA_CHANGES, the cancellation.
   */
  schema(): Promise<void>;
  /**
   * Copies every table of the archive without a record, each under a snapshot of its own that ends with its COPY, and builds
   * the indexes of each as soon as it is in. Tables that the source has made since the archive was dumped are not copied.
   * Complete already, it answers at once. @throws PgsluiceError TABLES_FAILED, SCHEMA_DRIFT (the columns of a table are no longer
   * those of the target's, or it is gone), RESTORE_REFUSED; always after all other tables have gone on.
   */
  copy(): Promise<{ readonly tables: readonly CopiedTable[]; readonly moved: Report['moved'] }>;
  /**
   * What is left of post-data that neither fires nor has to wait for the cutover: indexes of partitioned tables, statistics
   * objects, views. Then rehearses `finish` in a transaction that is rolled back, so that nothing is refused at the cutover
   * that could be known now. @throws PgsluiceError RESTORE_REFUSED.
   */
  buildRest(): Promise<void>;
  /**
   * Makes one new table of the source, which is published already, on the target: in one transaction its pre-data entries, rows
   * and record, then its indexes, then its place in a partition tree. `entries`: those of a new archive that belong to it.
   * Entries of other kinds are left to the archive that `replaceArchive` is given. May be repeated.
   */
  addTable(
    entries: readonly ArchiveEntry[],
    table: { readonly schema: string; readonly name: string },
  ): Promise<CopiedTable>;
  /** Replaces, here and in the target, the archive that `finish` works from, after the source's schema changed. */
  replaceArchive(archive: Archive): Promise<void>;
  /** As the target takes it, without anything that belongs to a job of pgsluice. @throws Error before `schema`. */
  readonly archive: Archive;
  /**
   * Fills the materialized views that are filled on the source; what is refused is tried again by `finish`, where privileges
   * stand as on the source. To be called before each fence; `signal` ends it.
   */
  refreshViews(signal?: AbortSignal): Promise<void>;
  readSequences(source: Session): Promise<SequenceValue[]>;
  writeSequences(target: Session, values: readonly SequenceValue[]): Promise<void>;
  /**
   * Everything that had to wait for the cutover, in the OPEN transaction of `target`: sequences, foreign keys (NOT VALID where
   * PostgreSQL allows it), triggers, rules, policies, publications, privileges, event triggers. The caller commits.
   * @throws PgsluiceError RESTORE_REFUSED; the transaction is to be rolled back then.
   */
  finish(target: Session, sequences: readonly SequenceValue[]): Promise<Finished>;
  /** Foreign keys of the archive that stand NOT VALID on the target and are valid on the source; after a restart, too. */
  listUnvalidated(): Promise<ForeignKeyName[]>;
  /** Checks their rows; each is told with its seconds. @throws PgsluiceError FOREIGN_KEY_VIOLATED after all were tried. */
  validateConstraints(list: readonly ForeignKeyName[]): Promise<void>;
  outcome(): CloneOutcome;
  close(): Promise<void>;
}
