import { expect, test } from 'vitest';
import { parseArchiveSql, saysOwnDiskFull, withoutAttver } from './archive.ts';

const sql = `--
-- PostgreSQL database dump
--
\\restrict token
SET statement_timeout = 0;
--
-- TOC entry 5 (class 2615 OID 2200)
-- Name: public; Type: SCHEMA; Schema: -; Owner: postgres
-- Data Pos: 0
--

-- *not* creating schema, since initdb creates it


ALTER SCHEMA public OWNER TO postgres;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- TOC entry 258 (class 1259 OID 16867)
-- Dependencies: 5 7
-- Name: we; Type: x ird; Type: TABLE; Schema: public; Owner: app
--

CREATE TABLE public."we; Type: x
ird" (
    a integer NOT NULL
);
ALTER TABLE ONLY public.t ALTER COLUMN a SET (pg_attver=3);
ALTER TABLE ONLY public.t ALTER COLUMN a SET (n_distinct=5, pg_attver=3);


ALTER TABLE public.t OWNER TO app;

--
-- TOC entry 0 (class 0 OID 0)
-- Dependencies: 258
-- Name: TABLE t; Type: ACL; Schema: public; Owner: app
--

GRANT SELECT ON TABLE public.t TO reader;

SET default_table_access_method = columnar;

--
-- TOC entry 259 (class 1259 OID 16868)
-- Dependencies: 5
-- Name: c; Type: TABLE; Schema: public; Owner: app
--

CREATE TABLE public.c (
    a integer
);


-- Completed on 2026-01-01
`;

test('splits the printed archive into entries with their identity', () => {
  const entries = parseArchiveSql(sql, 'pre-data');
  expect(entries.map((e) => [e.dumpId, e.classOid, e.oid, e.type, e.schema, e.name, e.owner])).toEqual([
    [5, 2615, 2200, 'SCHEMA', null, 'public', 'postgres'],
    [258, 1259, 16867, 'TABLE', 'public', 'we; Type: x ird', 'app'],
    [0, 0, 0, 'ACL', 'public', 'TABLE t', 'app'],
    [259, 1259, 16868, 'TABLE', 'public', 'c', 'app'],
  ]);
  expect(entries[1]?.dependencies).toEqual([5, 7]);
  expect(entries[1]?.settings).toEqual(["SET default_tablespace = '';", 'SET default_table_access_method = heap;']);
  expect(entries[2]?.settings).toEqual([]);
  expect(entries[3]?.settings).toEqual(["SET default_tablespace = '';", 'SET default_table_access_method = columnar;']);
  expect(entries[0]?.statements).toEqual(['ALTER SCHEMA public OWNER TO postgres;']);
});

test("the server's own column bookkeeping is taken out, what a person set stays", () => {
  const statements = parseArchiveSql(sql, 'pre-data')[1]?.statements ?? [];
  expect(statements).toHaveLength(3);
  expect(statements[1]).toBe('ALTER TABLE ONLY public.t ALTER COLUMN a SET (n_distinct=5);');
  expect(withoutAttver("COMMENT ON TABLE t IS 'SET (pg_attver=3)';")).toBe(
    "COMMENT ON TABLE t IS 'SET (pg_attver=3)';",
  );
});

test('a full disk of this machine is told apart from one of the server', () => {
  expect(
    saysOwnDiskFull(
      'pg_dump ended with exit code 1: pg_dump: error: could not write to output file: No space left on device',
    ),
  ).toBe(true);
  expect(saysOwnDiskFull('ENOSPC: no space left on device, write')).toBe(true);
  expect(
    saysOwnDiskFull(
      'pg_dump: error: query failed: ERROR:  could not write to file "base/pgsql_tmp/1": No space left on device',
    ),
  ).toBe(false);
});
