import type { Lsn } from '../postgres/lsn.ts';

/** An out-of-line value that an update did not touch: the stream leaves it out, the target keeps what it has. */
export const UNCHANGED: unique symbol = Symbol('unchanged TOAST value');

/** A column's value in the type's text form, as its output function printed it on the source. */
export type Value = string | null | typeof UNCHANGED;
export type Tuple = readonly Value[];

/** A published relation as the stream describes it; a change refers to the description that was valid for it. */
export interface Relation {
  /** pg_class.oid on the source. */
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** pg_class.relreplident: default, nothing, full, index. */
  readonly identity: 'd' | 'n' | 'f' | 'i';
  /** In table order; generated and dropped columns are not sent. */
  readonly columns: readonly RelationColumn[];
}

export interface RelationColumn {
  readonly name: string;
  readonly typeOid: number;
  readonly typeModifier: number;
  /** Part of the replica identity. */
  readonly key: boolean;
}

/** A whole row in the bytes in which the source sent it: TupleData of pgoutput, texts and NULLs only. Never overwritten. */
export interface RawRow {
  readonly segment: Buffer;
  /** Where the row begins in it. */
  readonly at: number;
  readonly bytes: number;
}

/** Tuples have one value a column of their relation. */
export type Change =
  | { readonly kind: 'insert'; readonly relation: Relation; readonly row: Tuple; readonly raw?: RawRow | null }
  | {
      readonly kind: 'update';
      readonly relation: Relation;
      /** Old values of the identity's columns (others null) when the update changed one of them, else null. */
      readonly key: Tuple | null;
      /** The whole old row under REPLICA IDENTITY FULL, else null. */
      readonly old: Tuple | null;
      readonly row: Tuple;
      /** The new row, when nothing but it was sent and all of its values are known. */
      readonly raw?: RawRow | null;
    }
  | { readonly kind: 'delete'; readonly relation: Relation; readonly key: Tuple | null; readonly old: Tuple | null }
  | {
      readonly kind: 'truncate';
      readonly relations: readonly Relation[];
      readonly cascade: boolean;
      readonly restartIdentity: boolean;
    };

/** One committed transaction of the source, whole. Transactions are handed out in commit order. */
export interface Transaction {
  /** 32 bits, as the stream sends it. */
  readonly xid: number;
  /** Of the commit record; grows from transaction to transaction. */
  readonly commitLsn: Lsn;
  /** First byte after the commit record. */
  readonly endLsn: Lsn;
  /** Source's clock, ms since 1970. */
  readonly committedAtMs: number;
  /** Changes of rows, truncations included. */
  readonly changeCount: number;
  /** Bytes that it takes in memory; 0 when it stands on disk. */
  readonly bytes: number;
  /** False for a transaction that was spooled to disk. */
  readonly inMemory: boolean;
  /** As {@link pieces} of one that is in memory, without a wait between them. @throws PgsluiceError STREAM_UNREADABLE. */
  held(): Iterable<readonly Change[]>;
  /** The changes in order, in pieces of bounded size; may be read more than once. @throws PgsluiceError STREAM_UNREADABLE. */
  pieces(): AsyncIterable<readonly Change[]>;
  /** Forgets the spool file; called once the transaction is durable on the target. */
  release(): Promise<void>;
}

export type StreamItem =
  | { readonly kind: 'transaction'; readonly transaction: Transaction }
  /** Every transaction that committed before `lsn` has been handed out; never to be stored as applied. */
  | { readonly kind: 'position'; readonly lsn: Lsn };

/** One replication connection; ended by an error it is not reopened but replaced. */
export interface ChangeStream {
  /** Waits for something to hand out, then answers all that is there, up to about `maxBytes`. @throws when the stream has ended. */
  take(maxBytes: number, signal: AbortSignal): Promise<readonly StreamItem[]>;
  /** Tells the source, now and with every later status, that everything before `lsn` is durable on the target. */
  acknowledge(lsn: Lsn): void;
  /** Asks the source to say at once how far it has sent. */
  askPosition(): void;
  /** Bytes of spool files, now. */
  readonly spooledBytes: number;
  close(): Promise<void>;
}

/** What decides whether a change is part of a table's copy already. */
export interface TableGate {
  /** pg_class.oid on the source. */
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** `pg_current_snapshot()` under which the table was copied, as text: xmin:xmax:xip,… with 64-bit numbers. */
  readonly snapshot: string;
  /** Set where the target routes rows anew: changes go to this table instead of the partition. */
  readonly via: { readonly schema: string; readonly name: string } | null;
}

export interface AppliedBatch {
  readonly inserts: number;
  readonly updates: number;
  readonly deletes: number;
  readonly truncates: number;
  readonly transactions: number;
  /** True when the batch had to be applied change by change. */
  readonly ordered: boolean;
}
