import type { JobOptions } from '../contract/options.ts';
import { qualified, quoteIdent } from '../postgres/quote.ts';
import { userSchema } from './catalog.ts';
import { failed, passed, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { perDatabase } from './database.ts';
import type { Database } from './database.ts';
import { dataInScope, largeObjectsInScope } from './scope.ts';
import { NAMED, count, listNames } from './words.ts';

/** An ordinary table or partition of the source, as far as following it is concerned. */
export interface LiveTable {
  readonly schema: string;
  readonly name: string;
  /** pg_class.relpersistence: p, or u for UNLOGGED. */
  readonly persistence: string;
  readonly owner: string;
  /** This role has the owner's rights. */
  readonly owned: boolean;
  /** pg_class.relreplident: d, n, f, i. */
  readonly identity: string;
  /** A primary key that may identify rows: valid and not DEFERRABLE. */
  readonly primaryKey: boolean;
  /** The primary key is DEFERRABLE, which serves for no identity. */
  readonly deferrableKey: boolean;
  /** The index of REPLICA IDENTITY USING INDEX is there and valid. */
  readonly identityIndex: boolean;
  /** Another index that could be it: unique, of NOT NULL columns, whole, not deferrable; null when there is none. */
  readonly candidate: string | null;
  /** The identity has a generated column, which the stream leaves out; under FULL only from 18 on, where the server then refuses. */
  readonly generatedIdentity: boolean;
  /** Planner's estimate; below 0 when the table was never analysed. */
  readonly tuples: number;
  /** The extension of a configuration table of which a part only is copied; null otherwise. */
  readonly extension: string | null;
  /** Publications that have it already, of all kinds. */
  readonly publications: readonly string[];
  /** Rows arrive here from elsewhere by a subscription of the source. */
  readonly subscribed: boolean;
}

/** An index that can be a replica identity (documentation, ALTER TABLE … REPLICA IDENTITY): what the server itself asks of it. */
const USABLE = `i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL`;
/** Generated columns exist since 12; virtual ones since 18. */
const GENERATED = `COALESCE(to_jsonb(a)->>'attgenerated', '') <> ''`;

const TABLES = `
SELECT n.nspname::text AS schema, c.relname::text AS name, c.relpersistence AS persistence, pg_get_userbyid(c.relowner)::text AS owner,
  pg_has_role(c.relowner, 'USAGE') AS owned, c.relreplident AS identity, c.reltuples::float8 AS tuples,
  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND ${USABLE}) AS "primaryKey",
  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND NOT i.indimmediate) AS "deferrableKey",
  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident AND ${USABLE}) AS "identityIndex",
  (SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
   WHERE i.indrelid = c.oid AND ${USABLE} AND NOT i.indisprimary
     AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) AS k (attnum) LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                     WHERE a.attnotnull IS DISTINCT FROM true OR ${GENERATED})
   ORDER BY x.relpages, x.relname LIMIT 1) AS candidate,
  CASE WHEN c.relreplident = 'f'
    THEN current_setting('server_version_num')::int >= 180000
      AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND ${GENERATED})
    ELSE EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
                 WHERE i.indrelid = c.oid AND ${GENERATED}
                   AND CASE WHEN c.relreplident = 'i' THEN i.indisreplident ELSE i.indisprimary END) END AS "generatedIdentity",
  (SELECT e.extname::text FROM pg_extension e, LATERAL unnest(e.extconfig, e.extcondition) AS g (oid, condition)
   WHERE g.oid = c.oid AND g.condition <> '') AS extension,
  ARRAY(SELECT p.pubname::text FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.prrelid = c.oid
        UNION SELECT p.pubname::text FROM pg_publication p WHERE p.puballtables ORDER BY 1) AS publications,
  EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid) AS subscribed
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND ${userSchema('n')}
  AND (NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
       OR EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig)))
ORDER BY 1, 2`;

const readAll = perDatabase((database) => database.session.query<LiveTable & Record<string, unknown>>(TABLES));

/** Every table whose rows the job moves. One query a validation. */
export async function readLiveTables(database: Database, options: JobOptions): Promise<LiveTable[]> {
  return (await readAll(database)).filter((table) => dataInScope(options, table.schema, table.name));
}

/** What the publication will hold. Pure. */
export function isFollowed(table: Pick<LiveTable, 'persistence' | 'extension'>): boolean {
  return table.persistence === 'p' && table.extension === null;
}

const nameOf = (table: LiveTable): string => qualified(table.schema, table.name);

/** Whether the server can tell which row an UPDATE or DELETE meant. Pure. */
export function hasIdentity(table: LiveTable): boolean {
  if (table.generatedIdentity) return false;
  if (table.identity === 'f') return true;
  return table.identity === 'i' ? table.identityIndex : table.identity === 'd' && table.primaryKey;
}

function identityRemedy(table: LiveTable): string {
  const alter = `ALTER TABLE ${nameOf(table)} REPLICA IDENTITY`;
  if (table.identity !== 'd' && table.primaryKey && !(table.identity === 'i' && table.generatedIdentity))
    return `${alter} DEFAULT;`;
  if (table.candidate !== null) return `${alter} USING INDEX ${quoteIdent(table.candidate)};`;
  if (table.generatedIdentity)
    return `-- ${nameOf(table)}: give it a unique index of NOT NULL columns that are not generated, then ${alter} USING INDEX …; or leave it out (--exclude-table)`;
  return `${alter} FULL; -- or give it a primary key, which is faster`;
}

export function judgeReplicaIdentity(tables: readonly LiveTable[]): Verdict {
  const followed = tables.filter(isFollowed);
  const without = followed.filter((table) => !hasIdentity(table));
  if (without.length > 0) {
    const notes = [
      ...(without.some((table) => table.deferrableKey) ? ['A DEFERRABLE primary key does not serve.'] : []),
      ...(without.some((table) => table.generatedIdentity)
        ? ['A generated column in the identity does not serve.']
        : []),
    ];
    return failed(
      'NO_REPLICA_IDENTITY',
      `${count(without.length, 'table')} cannot tell which row an UPDATE or DELETE meant, and the source would refuse both as soon as the table is published: ${listNames(without.map(nameOf))}.${notes.map((note) => ` ${note}`).join('')}`,
      [
        ...without.slice(0, NAMED).map(identityRemedy),
        ...(without.length > NAMED ? [`-- and the same for ${without.length - NAMED} more`] : []),
      ].join('\n'),
    );
  }
  const full = followed
    .filter((table) => table.identity === 'f' && !table.primaryKey)
    .toSorted((a, b) => b.tuples - a.tuples);
  if (full.length === 0) return passed(`All ${count(followed.length, 'table')} identify their rows by a key.`);
  const scanned = full.map((table) =>
    table.tuples < 0
      ? `${nameOf(table)} (not analysed)`
      : `${nameOf(table)} (about ${count(Math.round(table.tuples), 'row')})`,
  );
  return warned(
    `${count(full.length, 'table')} ${full.length === 1 ? 'has' : 'have'} no primary key and REPLICA IDENTITY FULL: each changed row is searched for on the target in the whole table: ${listNames(scanned)}.`,
    full
      .slice(0, NAMED)
      .map((table) =>
        table.candidate === null
          ? `-- where it is changed often: ALTER TABLE ${nameOf(table)} ADD PRIMARY KEY (…);`
          : identityRemedy(table),
      )
      .join('\n'),
  );
}

export const replicaIdentity: Check = {
  id: 'live.replica-identity',
  severity: 'blocks',
  title: 'Every table that is followed can tell which row a change meant.',
  needs: 'source',
  run: async (source, { options }) => judgeReplicaIdentity(await readLiveTables(source, options)),
};

export interface NotFollowed {
  readonly tables: readonly LiveTable[];
  readonly largeObjects: number;
  readonly materializedViews: number;
  readonly sequences: number;
  /** ENABLE ALWAYS or REPLICA. */
  readonly eventTriggers: readonly string[];
  readonly carrySchemaChanges: boolean;
  /** Of the source. */
  readonly major: number;
}

const some = (n: number, sentence: string): string[] => (n > 0 ? [sentence] : []);

/** What does not arrive while following, or in another way than one may think. Always something: DDL is never in the stream. */
export function judgeNotFollowed(facts: NotFollowed): Verdict {
  const unlogged = facts.tables.filter((table) => table.persistence === 'u').map(nameOf);
  const partly = facts.tables.filter((table) => table.extension !== null).map(nameOf);
  const theirs = facts.tables.filter((table) => table.publications.length > 0);
  const names = [...new Set(theirs.flatMap((table) => table.publications))].map(quoteIdent);
  const subscribed = facts.tables.filter((table) => table.subscribed).map(nameOf);
  const grave = [
    ...some(unlogged.length, `Changes to UNLOGGED tables after their copy do not arrive: ${listNames(unlogged)}.`),
    ...some(partly.length, `Changes to tables of extensions after their copy do not arrive: ${listNames(partly)}.`),
    ...some(
      facts.largeObjects,
      `Large objects (${facts.largeObjects}) are not in the stream: what changes in them after their copy does not arrive.`,
    ),
    ...some(
      facts.major < 11 ? 1 : 0,
      'PostgreSQL 10 does not send TRUNCATE: rows it removes while the job follows stay on the target.',
    ),
    ...some(
      subscribed.length,
      `A subscription writes to ${listNames(subscribed)} on the source and has to be moved to the target at the cutover.`,
    ),
    ...some(
      facts.eventTriggers.length,
      `Event triggers that are ENABLE ALWAYS or REPLICA fire in every session, also for what this job does: ${listNames(facts.eventTriggers.map(quoteIdent))}.`,
    ),
  ];
  const plain = [
    facts.carrySchemaChanges
      ? 'Of schema changes, added nullable columns, dropped columns and new tables are carried over; others pause the job and tell the statement to run on the target.'
      : 'Schema changes pause the job and tell the statement to run on the target (--carry-schema-changes carries the simple ones).',
    ...some(facts.sequences, 'Sequences are set at the cutover.'),
    ...some(
      facts.materializedViews,
      `Materialized views (${facts.materializedViews}) are not followed; the target's are filled anew from its own tables.`,
    ),
    ...some(
      theirs.length,
      `${count(theirs.length, 'table')} ${theirs.length === 1 ? 'is' : 'are'} in publications already: ${listNames(names)}. Their subscribers are to be pointed at the target after the cutover.`,
    ),
  ];
  const found = [...grave, ...plain].join(' ');
  const remedies = [
    ...some(
      unlogged.length,
      facts.tables
        .filter((table) => table.persistence === 'u')
        .slice(0, NAMED)
        .map(
          (table) => `ALTER TABLE ${nameOf(table)} SET LOGGED; -- rewrites it; or leave it out: --exclude-table-data`,
        )
        .join('\n'),
    ),
    ...some(facts.largeObjects, '-- keep large objects unchanged from the start of the job until the cutover'),
    ...some(facts.major < 11 ? 1 : 0, '-- use DELETE in place of TRUNCATE until the cutover'),
    ...some(
      subscribed.length,
      '-- at the cutover: ALTER SUBSCRIPTION … DISABLE; on the source, and create it on the target',
    ),
  ];
  return grave.length > 0 ? warned(found, remedies.join('\n')) : { outcome: 'info', code: null, found, remedy: '' };
}

const EVENT_TRIGGERS = `SELECT evtname::text AS name FROM pg_event_trigger WHERE evtenabled IN ('A', 'R') ORDER BY 1`;
const LARGE_OBJECTS = `SELECT count(*)::float8 AS n FROM pg_largeobject_metadata`;

export const notFollowed: Check = {
  id: 'live.not-followed',
  severity: 'warns',
  title: 'What does not follow by itself while the source is in use.',
  needs: 'source',
  run: async (source, { options }) => {
    const relations = (await source.relations()).filter((r) => dataInScope(options, r.schema, r.name));
    const triggers = await source.session.query<{ name: string }>(EVENT_TRIGGERS);
    return judgeNotFollowed({
      tables: await readLiveTables(source, options),
      largeObjects: largeObjectsInScope(options) ? (await source.one<{ n: number }>(LARGE_OBJECTS)).n : 0,
      materializedViews: relations.filter((r) => r.kind === 'm').length,
      sequences: relations.filter((r) => r.kind === 'S').length,
      eventTriggers: triggers.map((row) => row.name),
      carrySchemaChanges: options.carrySchemaChanges,
      major: source.version.major,
    });
  },
};
