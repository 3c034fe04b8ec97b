/** Where a fact comes from: the title of a documentation page, and the day it was written or read there (ISO). */
export interface FactSource {
  readonly title: string;
  readonly date: string;
}

/** One thing that is known of a place. `says` may name {role}, {database} and {extension}, which are filled in quoted. */
export interface Fact {
  readonly says: string;
  readonly from: FactSource;
}

/** What a check's remedy is about, so that a place can put it into its own words. */
export const needs = [
  'wal-level',
  'replication-right',
  'max-slots',
  'create-extension',
  'create-database',
  'allowlist',
  'pooler',
  'connections',
  'superuser',
  'disk',
] as const;
export type Need = (typeof needs)[number];

/** Everything known of one place where PostgreSQL runs. What is not known is left out, and the generic remedy stays. */
export interface Place {
  readonly id: string;
  /** As its own documentation writes it. */
  readonly name: string;
  /** Host names that it gives to its databases. */
  readonly hosts: readonly RegExp[];
  /** Prefixes of settings that only its servers have. */
  readonly settings: readonly string[];
  /** Roles that only its servers have. */
  readonly roles: readonly string[];
  /** The most a customer can be there. */
  readonly adminRole?: Fact;
  /** What it does not let one do, or does by itself. */
  readonly limits: readonly Fact[];
  /** What a restart, a resize or a failover looks like from outside. */
  readonly restarts?: Fact;
  /** Host and port of a pooler that moves sessions between server connections. */
  readonly transactionPooler?: { readonly host?: RegExp; readonly port?: number; readonly from: FactSource };
  readonly words: Readonly<Partial<Record<Need, Fact>>>;
}
