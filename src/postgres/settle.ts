import { quoteLiteral } from './quote.ts';

/**
 * What every session of ours sets for itself, so that no default of a server, database or role changes what data look
 * like as text or ends long work (PostgreSQL documentation, chapter 20). `row_security = off` turns a silently
 * filtered read into an error. Names that a server does not know are left out by {@link settleSql}.
 */
const SETTINGS: ReadonlyMap<string, string> = new Map([
  ['statement_timeout', '0'],
  ['lock_timeout', '0'],
  ['idle_in_transaction_session_timeout', '0'],
  ['idle_session_timeout', '0'],
  ['transaction_timeout', '0'],
  ['datestyle', 'ISO, MDY'],
  ['intervalstyle', 'postgres'],
  ['extra_float_digits', '3'],
  ['bytea_output', 'hex'],
  ['timezone', 'UTC'],
  ['lc_monetary', 'C'],
  ['lc_numeric', 'C'],
  ['xmloption', 'content'],
  ['array_nulls', 'on'],
  ['transform_null_equals', 'off'],
  ['quote_all_identifiers', 'off'],
  ['standard_conforming_strings', 'on'],
  ['escape_string_warning', 'off'],
  ['search_path', 'pg_catalog'],
  ['client_encoding', 'UTF8'],
  ['client_min_messages', 'warning'],
  ['row_security', 'off'],
  ['default_transaction_isolation', 'read committed'],
  ['default_transaction_deferrable', 'off'],
  // The server finds out within about a minute that this process is gone, and lets go of snapshot and locks.
  ['tcp_keepalives_idle', '30'],
  ['tcp_keepalives_interval', '10'],
  ['tcp_keepalives_count', '3'],
]);

/**
 * A table that somebody replaces by a view between our look at the catalogue and our look at its rows would run that person's
 * functions with our rights (CVE-2024-7348; servers from 12.20, 13.16, 14.13, 15.8, 16.4 and 17 on).
 */
const READING: readonly [string, string][] = [['restrict_nonsystem_relation_kind', 'view, foreign-table']];

/** A parallel scan would take processors from those who use the server. */
const GENTLE: readonly [string, string][] = [['max_parallel_workers_per_gather', '0']];

/** Lets a server notice during a long statement that its client is gone (PostgreSQL 14+, where the platform can). */
const LINUX_ONLY: ReadonlyMap<string, string> = new Map([['client_connection_check_interval', '10s']]);

const rows = (settings: Iterable<readonly [string, string]>): string =>
  [...settings].map(([name, value]) => `(${quoteLiteral(name)}, ${quoteLiteral(value)})`).join(', ');

/**
 * One statement, one round trip, one row: the server process that answered, when its server was started and what time it has, and how
 * many settings it took. With a `processId` only that server process takes them; another one, as behind a pooler, changes nothing.
 * Until it has run, the search path is the database's: operators and types are named in full as well, or somebody else's would run.
 */
export function settleSql(readOnly: boolean, processId: number | null, gentle = false): string {
  const all: [string, string][] = [
    ...SETTINGS,
    ['default_transaction_read_only', readOnly ? 'on' : 'off'],
    ...(readOnly ? READING : []),
    ...(gentle ? GENTLE : []),
  ];
  return `
    select pg_catalog.pg_backend_pid() as pid,
      (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8::pg_catalog.text as server,
      (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8::pg_catalog.text as at, pg_catalog.count(pg_catalog.set_config(s.name, v.value, false))::int as settled
    from (
      values ${rows(all)}
      union all
      select w.name, w.value from (values ${rows(LINUX_ONLY)}) as w (name, value)
      where pg_catalog.version() OPERATOR(pg_catalog.~~) '%linux%'
    ) as v (name, value)
    join pg_catalog.pg_settings s on pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) v.name${
      processId === null ? '' : `\n    where pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) ${processId}`
    }`;
}
