import { mapsRoles } from '../postgres/map-roles.ts';
import type { RoleMap } from '../postgres/map-roles.ts';
import type { Session } from '../postgres/session.ts';
import type { Findings } from './findings.ts';
import { messageOf, rethrowFatal, withRetries } from './rows.ts';
import { askBoth, both } from './sides.ts';
import type { Sides } from './sides.ts';

export interface LargeObjectFacts {
  readonly owner: string;
  /** Grants in the server's words, sorted; '' when nothing was granted. */
  readonly acl: string;
  readonly comment: string;
}

interface Row {
  oid: string;
  owner: string;
  acl: string;
  comment: string;
}

/** The implicit grants of an owner are written out, so that NULL and the same rights spelt out count as equal. */
const OBJECTS = `
SELECT l.oid::text AS oid, pg_get_userbyid(l.lomowner)::text AS owner,
       (SELECT coalesce(string_agg(a::text, ', ' ORDER BY a::text COLLATE "C"), '')
        FROM unnest(coalesce(l.lomacl, acldefault('L', l.lomowner))) AS a) AS acl,
       coalesce(obj_description(l.oid, 'pg_largeobject'), '') AS comment
FROM pg_largeobject_metadata l ORDER BY l.oid`;

/** The same with the roles that $1 maps replaced; every right by itself, since two roles may have become one. */
const MAPPED_OBJECTS = `
WITH role AS (SELECT oid, coalesce($1::jsonb ->> rolname::text, rolname::text) AS name FROM pg_roles)
SELECT l.oid::text AS oid, o.name AS owner,
       (SELECT coalesce(string_agg(DISTINCT concat_ws(' ', coalesce(e.name, 'PUBLIC'), a.privilege_type, a.is_grantable, 'by', g.name), ', '), '')
        FROM aclexplode(coalesce(l.lomacl, acldefault('L', l.lomowner))) AS a
        LEFT JOIN role e ON e.oid = a.grantee LEFT JOIN role g ON g.oid = a.grantor) AS acl,
       coalesce(obj_description(l.oid, 'pg_largeobject'), '') AS comment
FROM pg_largeobject_metadata l JOIN role o ON o.oid = l.lomowner ORDER BY l.oid`;

/** Bytes of one page of a large object; larger ones are hashed page by page on the server. */
const PAGE = 8 * 1024 * 1024;
const BATCH = 500;
const PAGES = 16;

const FIRST_PAGE = `
SELECT o::text AS oid, md5(lo_get(o, 0, ${PAGE})) AS hash, length(lo_get(o, ${PAGE}, 1)) > 0 AS more
FROM unnest($1::oid[]) AS o`;

/** OFFSET 0 keeps each page from being read once for every column. */
const NEXT_PAGES = `
SELECT string_agg(md5(page), '' ORDER BY n) AS hash, min(length(page)) = ${PAGE} AS more
FROM (SELECT n, lo_get($1::oid, n * ${PAGE}, ${PAGE}) AS page FROM generate_series($2::int8, $2::int8 + ${PAGES - 1}) AS n OFFSET 0) AS pages`;

async function listObjects(session: Session, mapped: RoleMap | null = null): Promise<Map<string, LargeObjectFacts>> {
  const rows = await (mapped === null
    ? session.query<Row & { [column: string]: unknown }>(OBJECTS)
    : session.query<Row & { [column: string]: unknown }>(MAPPED_OBJECTS, [JSON.stringify(mapped)]));
  return new Map(rows.map(({ oid, owner, acl, comment }) => [oid, { owner, acl, comment }]));
}

/** In the order of their oids. */
export async function objectIds(session: Session): Promise<string[]> {
  const rows = await session.query<{ oid: string }>(
    'SELECT oid::text AS oid FROM pg_largeobject_metadata ORDER BY oid',
  );
  return rows.map(({ oid }) => oid);
}

/** pg_largeobject itself is not for ordinary roles. 262144 is INV_READ, 2 SEEK_END (PostgreSQL documentation, 35.3). */
const BYTES = `
SELECT coalesce(sum(size), 0)::text AS bytes
FROM (SELECT lo_open(oid, 262144) AS fd FROM pg_largeobject_metadata OFFSET 0) AS opened,
     LATERAL (SELECT lo_lseek64(fd, 0, 2) AS size OFFSET 0) AS sought, LATERAL (SELECT lo_close(fd) AS closed WHERE size >= 0 OFFSET 0) AS left_again
WHERE closed = 0`;

/** Bytes of all large objects together; needs a transaction. */
export async function objectBytes(session: Session): Promise<number> {
  const [row] = await session.query<{ bytes: string }>(BYTES);
  return Number(row?.bytes ?? 0);
}

/** By oid: md5 of the bytes, or the md5 of each page of a longer object, one after the other. */
export async function hashObjects(session: Session, oids: readonly string[]): Promise<Map<string, string>> {
  const hashes = new Map<string, string>();
  const rows = await session.query<{ oid: string; hash: string; more: boolean }>(FIRST_PAGE, [oids]);
  for (const row of rows) {
    let hash = row.hash;
    for (let page = 1, more = row.more; more; page += PAGES) {
      const [next] = await session.query<{ hash: string; more: boolean }>(NEXT_PAGES, [row.oid, page]);
      if (next === undefined) break;
      hash += next.hash;
      more = next.more;
    }
    hashes.set(row.oid, hash);
  }
  return hashes;
}

export interface LargeObjectOptions {
  readonly contents: boolean;
  readonly noOwner: boolean;
  readonly noAcl: boolean;
  readonly mapRole: RoleMap;
}

/** Compares the sets of objects and what pg_dump writes about each; answers the oids that both sides have. Pure. */
export function compareObjectLists(
  source: ReadonlyMap<string, LargeObjectFacts>,
  target: ReadonlyMap<string, LargeObjectFacts>,
  options: Pick<LargeObjectOptions, 'noOwner' | 'noAcl'>,
  findings: Findings,
): string[] {
  const common: string[] = [];
  const describe = (facts: LargeObjectFacts): string =>
    [
      ...(options.noOwner ? [] : [`owner ${facts.owner}`]),
      // Grants name their grantor, which is the owner: without owners they cannot be equal.
      ...(options.noAcl || options.noOwner ? [] : [`grants ${facts.acl}`]),
      `comment ${JSON.stringify(facts.comment)}`,
    ].join(', ');
  for (const [oid, facts] of source) {
    const other = target.get(oid);
    if (other === undefined) {
      findings.differ({ kind: 'LARGE OBJECT', name: oid, change: 'missing', source: describe(facts), target: null });
      continue;
    }
    common.push(oid);
    if (describe(facts) !== describe(other)) {
      const [here, there] = [describe(facts), describe(other)];
      findings.differ({ kind: 'LARGE OBJECT', name: oid, change: 'different', source: here, target: there });
    }
  }
  for (const [oid, facts] of target) {
    if (source.has(oid)) continue;
    findings.differ({ kind: 'LARGE OBJECT', name: oid, change: 'extra', source: null, target: describe(facts) });
  }
  return common;
}

function digest(hash: string | undefined): string {
  if (hash === undefined) return 'unreadable';
  return hash.length > 32 ? `md5 by page ${hash}` : `md5 ${hash}`;
}

/** Hashes these objects on both servers; a failing batch is taken apart so that one object hides no other. */
async function compareContents(sides: Sides, oids: readonly string[], findings: Findings): Promise<void> {
  try {
    const [source, target] = await withRetries(sides.signal, () =>
      askBoth(sides, (session) => hashObjects(session, oids)),
    );
    for (const oid of oids) {
      const [here, there] = [source.get(oid), target.get(oid)];
      if (here !== undefined && here === there) continue;
      findings.differ({
        kind: 'LARGE OBJECT DATA',
        name: oid,
        change: 'different',
        source: digest(here),
        target: digest(there),
      });
    }
  } catch (error) {
    rethrowFatal(error, sides.signal);
    if (oids.length === 1) {
      findings.fail(`Large object ${oids[0]} could not be compared: ${messageOf(error)}`);
      return;
    }
    const half = Math.ceil(oids.length / 2);
    await compareContents(sides, oids.slice(0, half), findings);
    await compareContents(sides, oids.slice(half), findings);
  }
}

/** Compares all large objects: which there are, owner, grants, comment, and with `contents` every byte. Answers how many. */
export async function compareLargeObjects(
  sides: Sides,
  options: LargeObjectOptions,
  findings: Findings,
): Promise<number> {
  try {
    const { mapRole } = options;
    const [source, target] = await withRetries(sides.signal, () =>
      both(
        sides.source((session) => listObjects(session, mapsRoles(mapRole) ? mapRole : null)),
        sides.target((session) => listObjects(session, mapsRoles(mapRole) ? {} : null)),
      ),
    );
    const shared = compareObjectLists(source, target, options, findings);
    if (options.contents) {
      for (let at = 0; at < shared.length; at += BATCH)
        await compareContents(sides, shared.slice(at, at + BATCH), findings);
    }
    return shared.length;
  } catch (error) {
    rethrowFatal(error, sides.signal);
    findings.fail(`Large objects could not be compared: ${messageOf(error)}`);
    return 0;
  }
}
