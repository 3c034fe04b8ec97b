import { quoteIdent, quoteLiteral } from '../postgres/quote.ts';
import { passed, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { count, formatBytes, listNames } from './words.ts';

/** What slots and publications of our jobs begin with, and their job follows. */
const PREFIX = 'pgsluice_';
/** Where a target keeps how far its jobs are. */
const PROGRESS_SCHEMA = 'pgsluice_live';

export interface SlotFound {
  readonly name: string;
  readonly plugin: string;
  readonly active: boolean;
  /** WAL that the slot makes the source keep, in bytes. */
  readonly retainedBytes: number;
}

export interface SourceLeftovers {
  /** Logical slots of this database. */
  readonly slots: readonly SlotFound[];
  readonly publications: readonly string[];
  /** Schemas that other tools make for themselves. */
  readonly schemas: readonly string[];
}

/** Schemas in which tools that move databases keep their own state, and the tool. */
const TOOL_SCHEMAS: Readonly<Record<string, string>> = {
  pgcopydb: 'pgcopydb',
  pglogical: 'pglogical',
  pgstream: 'pgstream',
  _peerdb_internal: 'PeerDB',
  bucardo: 'Bucardo',
};

/** Which tool a slot may be of, by its name or plugin; null when nothing tells. Pure. */
export function toolOf(slot: Pick<SlotFound, 'name' | 'plugin'>): string | null {
  const known: readonly (readonly [RegExp, string])[] = [
    [/^pgcopydb/, 'pgcopydb'],
    [/^pgl_/, 'pglogical'],
    [/debezium|^dbz/, 'Debezium'],
    [/awsdms/, 'AWS DMS'],
    [/^peerflow/, 'PeerDB'],
    [/airbyte/, 'Airbyte'],
    [/fivetran/, 'Fivetran'],
  ];
  if (slot.plugin === 'pglogical_output') return 'pglogical';
  if (slot.plugin === 'decoderbufs') return 'Debezium';
  return known.find(([pattern]) => pattern.test(slot.name))?.[1] ?? null;
}

const isOurs = (name: string): boolean => name.startsWith(PREFIX);
const dropSlot = (slot: SlotFound): string => `SELECT pg_drop_replication_slot(${quoteLiteral(slot.name)});`;

/** `keep`: slots and publications of this job, and of others that the agent knows. */
export function judgeSourceLeftovers(found: SourceLeftovers, keep: readonly string[], dropped: boolean): Verdict {
  const stale = (name: string): boolean => isOurs(name) && !keep.includes(name);
  const ours = found.slots.filter((slot) => stale(slot.name) && !slot.active);
  const running = found.slots.filter((slot) => stale(slot.name) && slot.active);
  const inUse = new Set(running.map((slot) => slot.name));
  const publications = found.publications.filter((name) => stale(name) && !inUse.has(name));
  const idle = found.slots.filter((slot) => !isOurs(slot.name) && !slot.active);
  const parts: string[] = [];
  const remedies: string[] = [];
  const retains = (slot: SlotFound): string => `${slot.name} (keeps ${formatBytes(slot.retainedBytes)} of WAL)`;
  if (ours.length > 0) parts.push(`${count(ours.length, 'slot')} of earlier jobs: ${listNames(ours.map(retains))}.`);
  if (publications.length > 0)
    parts.push(`${count(publications.length, 'publication')} of earlier jobs: ${listNames(publications)}.`);
  if (ours.length + publications.length > 0) {
    if (dropped) parts.push('They are dropped before this job makes its own (--drop-leftovers).');
    else
      remedies.push(
        '-- when no agent works on those jobs any more; --drop-leftovers does the same:',
        ...ours.map(dropSlot),
        ...publications.map((name) => `DROP PUBLICATION ${quoteIdent(name)};`),
      );
  }
  if (running.length > 0)
    parts.push(`Another job follows this database at this moment, by ${listNames(running.map((slot) => slot.name))}.`);
  if (idle.length > 0) {
    const words = idle.map((slot) => {
      const tool = toolOf(slot);
      return `${slot.name} (${tool === null ? slot.plugin : `${tool}, ${slot.plugin}`}, keeps ${formatBytes(slot.retainedBytes)} of WAL)`;
    });
    parts.push(`${count(idle.length, 'slot')} of other tools that nobody reads: ${listNames(words)}.`);
    remedies.push('-- when its tool does not need it any more:', ...idle.map(dropSlot));
  }
  if (found.schemas.length > 0) {
    const words = found.schemas.map((name) => `${name} (${TOOL_SCHEMAS[name] ?? 'unknown'})`);
    parts.push(
      `${count(found.schemas.length, 'schema')} of other tools, which this job moves as well: ${listNames(words)}.`,
    );
    remedies.push(
      ...found.schemas.map(
        (name) => `DROP SCHEMA ${quoteIdent(name)} CASCADE; -- when its tool is done; or --exclude-schema ${name}`,
      ),
    );
  }
  if (parts.length === 0) return passed('No slot, publication or schema of an earlier run is on the source.');
  return warned(parts.join(' '), remedies.join('\n'));
}

const SLOTS = `
SELECT s.slot_name::text AS name, s.plugin::text AS plugin, s.active,
  COALESCE(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, s.restart_lsn), 0)::float8
    AS "retainedBytes"
FROM pg_replication_slots s WHERE s.slot_type = 'logical' AND s.database = current_database() AND NOT s.temporary ORDER BY 1`;

const NAMES = `
SELECT ARRAY(SELECT pubname::text FROM pg_publication WHERE left(pubname, length($1)) = $1 ORDER BY 1) AS publications,
       ARRAY(SELECT nspname::text FROM pg_namespace WHERE nspname = ANY ($2::text[]) ORDER BY 1) AS schemas`;

const source: Check = {
  id: 'leftovers.source',
  severity: 'warns',
  title: 'Nothing of earlier runs, of this tool or others, is left on the source.',
  needs: 'source',
  run: async (database, { options, ownNames }) => {
    const slots = await database.session.query<SlotFound & Record<string, unknown>>(SLOTS);
    const names = await database.one<{ publications: string[]; schemas: string[] }>(NAMES, [
      PREFIX,
      Object.keys(TOOL_SCHEMAS),
    ]);
    return judgeSourceLeftovers({ slots, ...names }, ownNames, options.dropLeftovers);
  },
};

export interface TargetLeftovers {
  /** The schema of progress stands. */
  readonly schema: boolean;
  /** Jobs with a row there; null where this role may not look. */
  readonly jobs: readonly { readonly job: string; readonly finished: boolean }[] | null;
}

export function judgeTargetLeftovers(found: TargetLeftovers, keep: readonly string[]): Verdict {
  if (!found.schema) return passed('No progress of another job is on the target.');
  const drop = `DROP SCHEMA ${PROGRESS_SCHEMA} CASCADE;`;
  if (found.jobs === null)
    return warned(
      `The schema ${PROGRESS_SCHEMA} of an earlier job stands on the target, and this role may not read it.`,
      `${drop} -- as its owner, when no job follows into this database`,
    );
  const others = found.jobs.filter(({ job }) => !keep.includes(`${PREFIX}${job}`));
  if (others.length === 0)
    return found.jobs.length > 0
      ? passed('Only the progress of this job is on the target.')
      : warned(`An empty schema ${PROGRESS_SCHEMA} of an earlier job stands on the target.`, drop);
  const words = others.map(({ job, finished }) => `${job} (${finished ? 'cut over' : 'not cut over'})`);
  return warned(
    `The target holds the progress of ${count(others.length, 'other job')}: ${listNames(words)}. When one still runs, both write to this database.`,
    others
      .map(
        ({ job }) =>
          `DELETE FROM ${PROGRESS_SCHEMA}.progress WHERE job = ${quoteLiteral(job)}; DELETE FROM ${PROGRESS_SCHEMA}.tables WHERE job = ${quoteLiteral(job)}; -- when it does not run any more`,
      )
      .join('\n'),
  );
}

/** Names that are not there yet cannot stand in a query: first it is asked whether they are. */
const PROGRESS = `
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = '${PROGRESS_SCHEMA}') AS schema, c.oid IS NOT NULL AS there,
       COALESCE(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), false) AS readable
FROM (VALUES (1)) AS one (x) LEFT JOIN pg_namespace n ON n.nspname = '${PROGRESS_SCHEMA}'
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'progress'`;

const target: Check = {
  id: 'leftovers.target',
  severity: 'warns',
  title: 'No other job keeps its progress on the target.',
  needs: 'target',
  run: async (database, { job: own, ownNames }) => {
    // Two jobs that write to one target are told of, whoever knows them.
    const keep = own === null ? ownNames : [`${PREFIX}${own}`];
    const { schema, there, readable } = await database.one<{ schema: boolean; there: boolean; readable: boolean }>(
      PROGRESS,
    );
    if (!schema) return judgeTargetLeftovers({ schema, jobs: [] }, keep);
    if (there && !readable) return judgeTargetLeftovers({ schema, jobs: null }, keep);
    const jobs = there
      ? await database.session.query<{ job: string; finished: boolean }>(
          `SELECT job::text AS job, finished FROM ${PROGRESS_SCHEMA}.progress ORDER BY 1`,
        )
      : [];
    return judgeTargetLeftovers({ schema, jobs }, keep);
  },
};

export const leftoverChecks: readonly Check[] = [source, target];
