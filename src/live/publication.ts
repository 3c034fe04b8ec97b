import { setTimeout as sleep } from 'node:timers/promises';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { HALF_DEADLOCK_TIMEOUT } from '../postgres/lock-patience.ts';
import { qualified, quoteIdent } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import { type OnWait, withNameLock } from './name-lock.ts';

export interface TableName {
  readonly schema: string;
  readonly name: string;
}

export interface PublishedTables {
  /** Tables that cannot be followed, with the reason in plain words: what changes in them after their copy does not arrive. */
  readonly left: readonly { readonly table: TableName; readonly why: string }[];
}

/** Tables a statement names; the parser and the lock table bear it well. */
const CHUNK = 500;
/**
 * A publication needs SHARE UPDATE EXCLUSIVE on each table: it waits for VACUUM, index builds and migrations, never stops a writer. So
 * long it waits in all, and so long at once for one of them, ms.
 */
const PATIENCE_MS = 30_000;
const AT_ONCE_MS = 5_000;
const BETWEEN_LOOKS_MS = 100;

const onlyTables = (tables: readonly TableName[]): string =>
  tables.map((table) => `ONLY ${qualified(table.schema, table.name)}`).join(', ');

const kindsOption = (major: number): string =>
  `publish = '${major >= 11 ? 'insert, update, delete, truncate' : 'insert, update, delete'}'`;

/** The statements that make the publication, or add to it when it stands. Pure; `major` of the source. */
export function publicationSql(name: string, tables: readonly TableName[], exists: boolean, major: number): string[] {
  const chunks: (readonly TableName[])[] = [];
  for (let at = 0; at < tables.length; at += CHUNK) chunks.push(tables.slice(at, at + CHUNK));
  const options = [kindsOption(major), ...(major >= 13 ? ['publish_via_partition_root = false'] : [])].join(', ');
  const first = exists ? [] : [`CREATE PUBLICATION ${quoteIdent(name)} WITH (${options})`];
  return [...first, ...chunks.map((chunk) => `ALTER PUBLICATION ${quoteIdent(name)} ADD TABLE ${onlyTables(chunk)}`)];
}

/**
 * Of the tables asked for: which exist, which are part of the publication, and which cannot be followed. A table of an extension
 * with a condition is copied in part only, so changes to the rest would have nothing to meet. In the order in which they are locked.
 */
const TABLES = `
SELECT w.schema, w.name, c.oid IS NOT NULL AS exists, c.relpersistence AS persistence,
  EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
          WHERE p.pubname = $3 AND r.prrelid = c.oid) AS published,
  EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_replication_slots s ON s.slot_name = $3
          WHERE p.pubname = $3 AND r.prrelid = c.oid AND age(r.xmin) > age(s.catalog_xmin)) AS settled,
  (SELECT e.extname FROM pg_extension e, LATERAL unnest(e.extconfig, e.extcondition) AS g (oid, condition)
   WHERE g.oid = c.oid AND g.condition <> '') AS extension
FROM unnest($1::text[], $2::text[]) AS w (schema, name)
LEFT JOIN pg_namespace n ON n.nspname = w.schema
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind = 'r'
ORDER BY c.oid`;

interface TableFacts extends TableName {
  readonly exists: boolean;
  readonly persistence: string | null;
  readonly published: boolean;
  /** Published so long ago that the slot has left every transaction from before behind. */
  readonly settled: boolean;
  readonly extension: string | null;
}

/** Why changes of the table cannot be followed; null when they can. Pure. */
export function whyNotFollowed(table: Pick<TableFacts, 'persistence' | 'extension'>): string | null {
  if (table.persistence === 'u') return 'it is UNLOGGED: its changes are in no WAL';
  if (table.extension !== null)
    return `it belongs to the extension ${table.extension}, which makes part of its rows itself`;
  return null;
}

interface PublicationFacts {
  readonly exists: boolean;
  readonly ours: boolean;
  /** A slot of the same name stands. */
  readonly slot: boolean;
  readonly major: number;
}

async function readPublication(session: Session, name: string): Promise<PublicationFacts> {
  const [row] = await session.query<PublicationFacts & Record<string, unknown>>(
    `SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1) AS exists,
            EXISTS (SELECT FROM pg_publication WHERE pubname = $1 AND pg_has_role(pubowner, 'USAGE')) AS ours,
            EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1) AS slot,
            current_setting('server_version_num')::int / 10000 AS major`,
    [name],
  );
  if (row === undefined) throw new Error('a select without FROM returned no row');
  return row;
}

/** Who holds a lock on one of these tables that a publication has to wait for (documentation, 13.3.1). */
const IN_THE_WAY = `
SELECT n.nspname AS schema, c.relname AS name, coalesce('process ' || l.pid, 'a prepared transaction') AS who
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN unnest($1::text[], $2::text[]) AS w (schema, name) ON w.schema = n.nspname AND w.name = c.relname
WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') LIMIT 1`;

const GIVEN_WAY: ReadonlySet<string> = new Set([SQLSTATE.lockNotAvailable, SQLSTATE.deadlockDetected]);
const NOT_LOCKED: ReadonlySet<string> = new Set([
  ...GIVEN_WAY,
  SQLSTATE.undefinedTable,
  SQLSTATE.invalidSchemaName,
  SQLSTATE.insufficientPrivilege,
]);

/** Rolls back what `work` has begun when it fails. */
async function transaction<T>(session: Session, work: () => Promise<T>): Promise<T> {
  await session.run('BEGIN READ WRITE');
  try {
    await session.run(HALF_DEADLOCK_TIMEOUT);
    const answer = await work();
    await session.run('COMMIT');
    return answer;
  } catch (error) {
    // A session that is gone has rolled back already; the first error tells why.
    await session.run('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/**
 * A transaction that locks `tables` one after the other, and gives way with all of them where one is not to be had soon: whoever has it
 * may want another one of them. What is in the way is then waited for with nothing held.
 */
async function lockingTransaction<T>(
  session: Session,
  tables: readonly TableName[],
  signal: AbortSignal,
  onWait: OnWait,
  work: () => Promise<T>,
): Promise<T> {
  for (const until = Date.now() + PATIENCE_MS; ;) {
    throwIfAborted(signal);
    try {
      return await transaction(session, work);
    } catch (error) {
      const state = sqlStateOf(error);
      if (session.lost || state === null || !GIVEN_WAY.has(state) || Date.now() >= until) throw error;
    }
    await waitForLock(session, tables, until, onWait);
    await sleep(BETWEEN_LOOKS_MS, undefined, { signal }).catch(() => throwIfAborted(signal));
  }
}

/** An autovacuum gives way to whoever has waited for it for deadlock_timeout, which nobody may who holds locks. */
async function waitForLock(
  session: Session,
  tables: readonly TableName[],
  until: number,
  onWait: OnWait,
): Promise<void> {
  const names = [tables.map((table) => table.schema), tables.map((table) => table.name)];
  const [held] = await session.query<TableName & { who: string } & Record<string, unknown>>(IN_THE_WAY, names);
  if (held === undefined) return;
  const name = qualified(held.schema, held.name);
  onWait(`waiting for ${held.who}, which keeps ${name} locked`);
  const ms = Math.max(1, Math.min(AT_ONCE_MS, until - Date.now()));
  try {
    await session.run(
      `BEGIN READ WRITE; SET LOCAL lock_timeout = ${ms}; LOCK TABLE ONLY ${name} IN SHARE UPDATE EXCLUSIVE MODE; ROLLBACK`,
    );
  } catch (error) {
    if (!session.lost) await session.run('ROLLBACK');
    const state = sqlStateOf(error);
    // It is tried again in any case.
    if (state === null || !NOT_LOCKED.has(state)) throw error;
  }
}

function explainPublication(error: unknown, name: string): unknown {
  if (!(error instanceof PgsluiceError) || sqlStateOf(error) !== SQLSTATE.insufficientPrivilege) return error;
  return new PgsluiceError({
    code: 'PUBLICATION_DENIED',
    message: `The publication ${name} cannot be made: ${error.message}`,
    hint: "On the source the role needs CREATE on the database and must own every table it follows: GRANT CREATE ON DATABASE … TO …; and GRANT <the tables' owner> TO …; or use --method copy.",
    cause: error,
  });
}

const publicationMissing = (name: string): PgsluiceError =>
  new PgsluiceError({
    code: 'PUBLICATION_MISSING',
    message: `The publication ${name} is gone from the source.`,
    hint: 'Somebody dropped it, and changes since then were not sent. Cancel the job and start it again.',
  });

async function publish(
  session: Session,
  name: string,
  tables: readonly TableName[],
  signal: AbortSignal,
  onWait: OnWait,
): Promise<PublishedTables> {
  const publication = await readPublication(session, name);
  // The stream looks publications up in the past: one that is made again stays unknown at the slot's position for good.
  if (!publication.exists && publication.slot) throw publicationMissing(name);
  if (publication.exists && !publication.ours)
    throw new PgsluiceError({
      code: 'PUBLICATION_TAKEN',
      message: `A publication ${name} exists on the source and belongs to another role.`,
      hint: `Run there as its owner: DROP PUBLICATION ${quoteIdent(name)}; and retry.`,
    });
  const facts = await session.query<TableFacts & Record<string, unknown>>(TABLES, [
    tables.map((table) => table.schema),
    tables.map((table) => table.name),
    name,
  ]);
  const missing = facts.find((table) => !table.exists);
  if (missing !== undefined)
    throw new PgsluiceError({
      code: 'TABLE_MISSING',
      message: `The source has no table ${qualified(missing.schema, missing.name)} any more.`,
      hint: 'Start the job again: the tables are listed anew.',
    });
  const left = facts.flatMap((table) => {
    const why = whyNotFollowed(table);
    return why === null ? [] : [{ table: { schema: table.schema, name: table.name }, why }];
  });
  const followed = facts.filter((table) => whyNotFollowed(table) === null);
  const fresh = followed.filter((table) => !table.published);
  const statements = publicationSql(name, fresh, publication.exists, publication.major);
  if (statements.length > 0)
    await lockingTransaction(session, fresh, signal, onWait, async () => {
      for (const statement of statements) {
        throwIfAborted(signal);
        await session.run(statement);
      }
    }).catch((error: unknown) => {
      throw explainPublication(error, name);
    });
  // What a transaction wrote before its table was published is never sent, even when it commits later. A table found published may
  // have been so for a moment only, before whoever added it was interrupted; a slot that is yet to be made waits for everybody itself.
  const unseen = publication.slot ? followed.filter((table) => !table.settled) : fresh;
  if (publication.exists && unseen.length > 0) await waitForWriters(session, unseen, signal, onWait);
  // A walsender (before 13.21, 14.18, 15.13, 16.9 and 17.5) that sends such a transaction learns from it that the table is not
  // published, and keeps that until the publication is changed again: so it is, to what it was.
  if (publication.exists && (publication.slot || fresh.length > 0))
    await transaction(session, () =>
      session.run(`ALTER PUBLICATION ${quoteIdent(name)} SET (${kindsOption(publication.major)})`),
    ).catch((error: unknown) => {
      throw explainPublication(error, name);
    });
  return { left };
}

/** Transactions that have written to a table, or may: the locks that INSERT, UPDATE, DELETE and TRUNCATE take (documentation, 13.3.1). */
const WRITERS = `
SELECT DISTINCT l.virtualtransaction AS id, l.pid FROM pg_locks l
WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
  AND l.relation IN (SELECT c.oid FROM unnest($1::text[], $2::text[]) AS w (schema, name)
                     JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name)`;

/** Resolves when every transaction that wrote to the tables before now is over. Stops nobody. */
async function waitForWriters(
  session: Session,
  tables: readonly TableName[],
  signal: AbortSignal,
  onWait: OnWait,
): Promise<void> {
  const names = [tables.map((table) => table.schema), tables.map((table) => table.name)];
  const look = async (): Promise<Map<string, string>> => {
    const rows = await session.query<{ id: string; pid: number | null }>(WRITERS, names);
    return new Map(
      rows.map(({ id, pid }) => [`${id} ${pid}`, pid === null ? 'a prepared transaction' : `process ${pid}`]),
    );
  };
  const before = await look();
  while (before.size > 0) {
    onWait(`waiting for transactions that wrote before the table was published: ${[...before.values()].join(', ')}`);
    await sleep(BETWEEN_LOOKS_MS, undefined, { signal }).catch(() => throwIfAborted(signal));
    const now = await look();
    for (const id of before.keys()) if (!now.has(id)) before.delete(id);
  }
}

/**
 * Makes the publication for these ordinary tables and partitions, in one transaction, under the name's advisory lock. When it
 * stands already, tables that it lacks are added, and transactions that may have written to a table before it was published are
 * waited for. `session`: of the source, writable, in no transaction. Answers what cannot be followed.
 * @throws PgsluiceError PUBLICATION_DENIED, PUBLICATION_TAKEN, PUBLICATION_MISSING (a slot stands without
 * it), TABLE_MISSING, SLOT_BUSY, LOCK_TIMEOUT (retryable).
 */
export async function createPublication(
  session: Session,
  name: string,
  tables: readonly TableName[],
  signal: AbortSignal,
  onWait: OnWait = () => undefined,
): Promise<PublishedTables> {
  return await withNameLock(session, name, signal, onWait, () => publish(session, name, tables, signal, onWait));
}

/**
 * Adds one table to a publication that stands. When it resolves, every change that a later snapshot of the table does not hold
 * is sent: the table may be copied now. @throws like `createPublication`; PUBLICATION_MISSING.
 */
export async function addToPublication(
  session: Session,
  name: string,
  table: TableName,
  signal: AbortSignal,
  onWait: OnWait = () => undefined,
): Promise<PublishedTables> {
  return await withNameLock(session, name, signal, onWait, async () => {
    if (!(await readPublication(session, name)).exists) throw publicationMissing(name);
    return await publish(session, name, [table], signal, onWait);
  });
}

/** Drops the publication; absent is done. @throws PgsluiceError what the server says, SLOT_BUSY. */
export async function dropPublication(session: Session, name: string, signal: AbortSignal): Promise<void> {
  await withNameLock(
    session,
    name,
    signal,
    () => undefined,
    () => transaction(session, () => session.run(`DROP PUBLICATION IF EXISTS ${quoteIdent(name)}`)),
  );
}
