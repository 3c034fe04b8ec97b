import { setTimeout as sleep } from 'node:timers/promises';
import { throwIfAborted } from '../errors.ts';
import { isTransient } from '../postgres/explain.ts';
import type { SourceSnapshot } from '../postgres/snapshot.ts';
import type { CloneContext } from './context.ts';
import { log } from './context.ts';
import type { SessionPool } from './session-pool.ts';
import { largeObjectsMatch } from '../postgres/filters.ts';
import { mappedRole } from '../postgres/map-roles.ts';
import { quoteIdent, quoteLiteral } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import type { JobOptions } from '../contract/options.ts';

/** A large object as the source's catalogue describes it. */
interface LargeObject {
  readonly oid: string;
  readonly owner: string;
  readonly comment: string | null;
  readonly grants: { grantee: string | null; privilege: string; grantable: boolean }[] | null;
  /** The owner's own rights, or PUBLIC's, were changed. */
  readonly hasAcl: boolean;
  readonly [column: string]: unknown;
}

/** Bytes of each object that the first round trip fetches; what is longer follows in pieces. */
const HEAD_BYTES = 64 * 1024;
const PIECE_BYTES = 4 * 1024 * 1024;
/** Objects in a round trip: more while they are small, so that at most MOST_OBJECTS × HEAD_BYTES are in memory. */
const FEWEST_OBJECTS = 16;
const MOST_OBJECTS = 512;

const LIST = `
SELECT m.oid::int8 AS oid, pg_get_userbyid(m.lomowner) AS owner, obj_description(m.oid, 'pg_largeobject') AS comment,
       m.lomacl IS NOT NULL AS "hasAcl",
       (SELECT json_agg(json_build_object('grantee', CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END,
                                          'privilege', a.privilege_type, 'grantable', a.is_grantable))
        FROM aclexplode(m.lomacl) a) AS grants
FROM pg_largeobject_metadata m ORDER BY m.oid`;

export function carriesLargeObjects(options: JobOptions): boolean {
  return !options.schemaOnly && largeObjectsMatch(options);
}

export async function countLargeObjects(source: Session): Promise<number> {
  const [row] = await source.query<{ count: string }>('SELECT count(*)::text AS count FROM pg_largeobject_metadata');
  return Number(row?.count ?? 0);
}

type AttributeOptions = Pick<JobOptions, 'noOwner' | 'noAcl' | 'mapRole'>;

/** Owner, grants and comment of one object as statements. Pure. */
export function attributeStatements(object: LargeObject, options: AttributeOptions): string[] {
  const name = `LARGE OBJECT ${object.oid}`;
  const role = (source: string): string => quoteIdent(mappedRole(options.mapRole, source));
  const statements: string[] = [];
  if (object.comment !== null) statements.push(`COMMENT ON ${name} IS ${quoteLiteral(object.comment)}`);
  if (!options.noAcl && object.hasAcl) {
    statements.push(`REVOKE ALL ON ${name} FROM PUBLIC`);
    if (!options.noOwner) statements.push(`REVOKE ALL ON ${name} FROM ${role(object.owner)}`);
    for (const grant of object.grants ?? []) {
      const grantee = grant.grantee === null ? 'PUBLIC' : role(grant.grantee);
      statements.push(
        `GRANT ${grant.privilege} ON ${name} TO ${grantee}${grant.grantable ? ' WITH GRANT OPTION' : ''}`,
      );
    }
  }
  if (!options.noOwner) statements.unshift(`ALTER ${name} OWNER TO ${role(object.owner)}`);
  return statements;
}

/**
 * Copies every large object under the session's snapshot: many small ones in a round trip, larger ones in pieces. All of it is
 * one transaction on the target, so that a failed attempt leaves none behind.
 * @returns how many objects and bytes were copied.
 */
export async function copyLargeObjects(
  source: Session,
  target: Session,
  options: AttributeOptions,
  onProgress: (objects: number, bytes: number) => Promise<void>,
): Promise<{ objects: number; bytes: number }> {
  const objects = await source.query<LargeObject>(LIST);
  let bytes = 0;
  let size = FEWEST_OBJECTS;
  await target.run('BEGIN');
  for (let at = 0; at < objects.length;) {
    const batch = objects.slice(at, at + size);
    const heads = await source.query<{ oid: string; data: Buffer }>(
      'SELECT o::int8 AS oid, lo_get(o, 0, $2) AS data FROM unnest($1::oid[]) o',
      [batch.map((object) => Number(object.oid)), HEAD_BYTES],
    );
    await target.query('SELECT lo_from_bytea(o, d) FROM unnest($1::oid[], $2::bytea[]) AS u(o, d)', [
      heads.map((head) => Number(head.oid)),
      heads.map((head) => head.data),
    ]);
    const headBytes = heads.reduce((sum, head) => sum + head.data.length, 0);
    bytes += headBytes;
    for (const head of heads) {
      if (head.data.length < HEAD_BYTES) continue;
      bytes += await copyTail(source, target, Number(head.oid), (moved) => onProgress(at, bytes + moved));
    }
    const statements = batch.flatMap((object) => attributeStatements(object, options));
    if (statements.length > 0) await target.run(statements.join('; '));
    at += batch.length;
    size =
      headBytes < PIECE_BYTES / 4 ? Math.min(MOST_OBJECTS, size * 2) : Math.max(FEWEST_OBJECTS, Math.floor(size / 2));
    await onProgress(at, bytes);
  }
  await target.run('COMMIT');
  return { objects: objects.length, bytes };
}

/** What follows the first HEAD_BYTES of one object. @returns bytes copied. */
async function copyTail(
  source: Session,
  target: Session,
  oid: number,
  onProgress: (bytes: number) => Promise<void>,
): Promise<number> {
  let offset = HEAD_BYTES;
  for (;;) {
    const [piece] = await source.query<{ data: Buffer }>('SELECT lo_get($1::oid, $2::int8, $3) AS data', [
      oid,
      offset,
      PIECE_BYTES,
    ]);
    if (piece === undefined || piece.data.length === 0) break;
    await target.query('SELECT lo_put($1::oid, $2::int8, $3)', [oid, offset, piece.data]);
    offset += piece.data.length;
    await onProgress(offset - HEAD_BYTES);
    if (piece.data.length < PIECE_BYTES) break;
  }
  return offset - HEAD_BYTES;
}

/** Where a pause and the job's rate take hold: between two pieces. */
export function pacer({
  gate,
  signal,
}: Pick<CloneContext, 'gate' | 'signal'>): (objects: number, bytes: number) => Promise<void> {
  let counted = 0;
  return async (_objects, bytes) => {
    await gate.pace.take(bytes - counted, signal);
    counted = bytes;
    await gate.wait(signal);
  };
}

/**
 * Copies all large objects, again when a connection breaks while the snapshot lives.
 * @returns how many there are. @throws PgsluiceError when they cannot be copied, or the cancellation.
 */
export async function carryLargeObjects(
  context: CloneContext,
  snapshot: SourceSnapshot,
  sessions: SessionPool,
): Promise<number> {
  if ((await countLargeObjects(snapshot.holder)) === 0) return 0;
  for (let attempt = 0; ; attempt += 1) {
    try {
      const copied = await snapshot.withSession((source) =>
        sessions.with((target) => copyLargeObjects(source, target, context.options, pacer(context))),
      );
      const noun = copied.objects === 1 ? 'object' : 'objects';
      log(context, 'info', `Copied ${copied.objects} large ${noun}, ${copied.bytes.toLocaleString('en-US')} bytes.`);
      return copied.objects;
    } catch (error) {
      throwIfAborted(context.signal);
      if (attempt >= 3 || !isTransient(error) || !snapshot.alive) throw error;
      log(context, 'warn', 'The copy of the large objects was interrupted; trying again.');
      await sleep(1000 * 2 ** attempt, undefined, { signal: context.signal });
    }
  }
}
