import { expect, test } from 'vitest';
import { tokenizeSql } from './sql-lexer.ts';

const statements = (sql: string): string[] =>
  [...tokenizeSql(sql)].filter((t) => t.kind === 'statement').map((t) => t.text);
const comments = (sql: string): string[] =>
  [...tokenizeSql(sql)].filter((t) => t.kind === 'comment').map((t) => t.text);

test('splits at semicolons and drops the space around statements', () => {
  expect(statements('\nSELECT 1;\n\n  SELECT 2 ;')).toEqual(['SELECT 1;', 'SELECT 2 ;']);
});

test('semicolons, markers and meta-commands inside of quotations are data', () => {
  const body =
    "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $_$\n-- TOC entry 1 (class 0 OID 0)\n\\restrict x\nSELECT $1; 'it''s';\n$_$;";
  expect(statements(`${body}\nSELECT 'a;''b', E'c\\';d', "e;""f";`)).toEqual([
    body,
    `SELECT 'a;''b', E'c\\';d', "e;""f";`,
  ]);
  expect(comments(body)).toEqual([]);
});

test('a dollar inside an identifier opens no quotation', () => {
  expect(statements('SELECT a$b$c; SELECT $1; SELECT $x$;$x$;')).toEqual([
    'SELECT a$b$c;',
    'SELECT $1;',
    'SELECT $x$;$x$;',
  ]);
});

test('rules with several actions and SQL-standard bodies are one statement', () => {
  const rule = 'CREATE RULE r AS ON INSERT TO t DO INSTEAD ( INSERT INTO a VALUES (1); DELETE FROM b; );';
  const routine =
    'CREATE FUNCTION public.g() RETURNS integer\n LANGUAGE sql\n BEGIN ATOMIC\n SELECT CASE WHEN true THEN 1 ELSE 2 END;\n SELECT 2;\nEND;';
  expect(statements(`${rule}\n${routine}\nSELECT 3;`)).toEqual([rule, routine, 'SELECT 3;']);
});

test('a table whose column is called begin is not a routine', () => {
  expect(statements('CREATE TABLE t (begin integer); SELECT 1;')).toEqual([
    'CREATE TABLE t (begin integer);',
    'SELECT 1;',
  ]);
});

test('a routine or a schema called begin opens no body', () => {
  const routine = "CREATE FUNCTION begin.begin() RETURNS integer\n    LANGUAGE sql\n    AS 'select 1';";
  expect(statements(`${routine}\nSELECT 3;`)).toEqual([routine, 'SELECT 3;']);
});

test('comments between statements are reported, meta-commands are left out', () => {
  expect([...tokenizeSql('\\restrict abc\n-- one\nSELECT 1; -- two\n/* a /* nested; */ b; */ SELECT 2;')]).toEqual([
    { kind: 'comment', text: '-- one' },
    { kind: 'statement', text: 'SELECT 1;' },
    { kind: 'comment', text: '-- two' },
    { kind: 'statement', text: 'SELECT 2;' },
  ]);
});

test('what PostgreSQL takes for space and for the end of a comment counts, and nothing else', () => {
  // A no-break space is a letter: what follows is no E string, so the literal ends before the semicolon.
  expect(statements("SELECT \u00a0e'\\'; DROP TABLE a; --'")).toEqual(["SELECT \u00a0e'\\';", 'DROP TABLE a;']);
  expect(statements("\u00a0e'\\'; DROP TABLE a; --'")).toEqual(["\u00a0e'\\';", 'DROP TABLE a;']);
  expect(statements('SELECT 1 -- x\rFROM a; SELECT 2;')).toEqual(['SELECT 1 -- x\rFROM a;', 'SELECT 2;']);
  expect(statements('-- x\rDROP TABLE a;')).toEqual(['DROP TABLE a;']);
});

test('a backslash escapes in plain literals where the archive says so', () => {
  const sql = "SELECT 'x\\''; DROP TABLE a; --'";
  expect([...tokenizeSql(sql, true)].map((token) => token.text)).toEqual(["SELECT 'x\\'';", 'DROP TABLE a;', "--'"]);
  expect(statements(sql)).toEqual([sql]);
});

test('no statement hides in what looks like the body of a routine', () => {
  const unreadable = expect.objectContaining({ code: 'SQL_UNREADABLE' }) as Error;
  const head = 'CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC';
  expect(() => statements(`${head} SELECT 1 AS case; END; DROP TABLE a; END;`)).toThrow(unreadable);
  expect(() => statements(`${head} SELECT 1; DROP TABLE a; END;`)).toThrow(unreadable);
  // A view called "function", and a column called "begin" that is named atomic.
  const view = 'CREATE VIEW function AS SELECT begin atomic FROM t;';
  expect(statements(`${view} DROP TABLE a; END;`)).toEqual([view, 'DROP TABLE a;', 'END;']);
  // The body ends too early, and what is left over is no routine.
  expect(statements(`${head} SELECT 1 AS end; SELECT 2; END;`)).toEqual([
    `${head} SELECT 1 AS end;`,
    'SELECT 2;',
    'END;',
  ]);
  const honest = `${head} INSERT INTO a VALUES (1); (SELECT 2); WITH x AS (SELECT 1) SELECT CASE WHEN true THEN 1 END FROM x; END;`;
  expect(statements(`${honest} SELECT 3;`)).toEqual([honest, 'SELECT 3;']);
  expect(statements('CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC END; SELECT 3;')).toHaveLength(2);
});
