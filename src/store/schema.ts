import { sql } from 'drizzle-orm';
import {
  bigint,
  boolean,
  check,
  index,
  integer,
  jsonb,
  pgSchema,
  primaryKey,
  text,
  timestamp,
} from 'drizzle-orm/pg-core';
import type { CheckResult } from '../contract/check.ts';
import type { ErrorView, JobState, Phase, TableProgress } from '../contract/event.ts';
import type { LiveState } from '../contract/live.ts';
import type { JobView } from '../contract/job.ts';
import type { HookMoment, JobKind, JobOptions } from '../contract/options.ts';
import type { Report } from '../contract/report.ts';

/** Everything of ours stands in one schema, so that a shared database stays the owner's. */
export const state = pgSchema('pgsluice');

const moment = (name: string) => timestamp(name, { withTimezone: true, mode: 'date' });

export type JobTotals = JobView['totals'];

/** One row a process that has opened this state. Its heartbeat is taken by the database's clock. */
export const agents = state.table('agents', {
  id: text('id').primaryKey(),
  host: text('host').notNull(),
  pid: integer('pid').notNull(),
  /** Boot and process namespace: only within the same one do pid and start time say whether the process lives. */
  scope: text('scope').notNull(),
  processStart: text('process_start'),
  role: text('role').notNull(),
  startedAt: moment('started_at').notNull().defaultNow(),
  heartbeatAt: moment('heartbeat_at').notNull().defaultNow(),
});

/** Facts about this state as a whole: salt and canary of the secret key. */
export const meta = state.table('meta', {
  key: text('key').primaryKey(),
  value: text('value').notNull(),
});

export const jobs = state.table(
  'jobs',
  {
    id: text('id').primaryKey(),
    name: text('name').notNull(),
    state: text('state').$type<JobState>().notNull(),
    phase: text('phase').$type<Phase>(),
    kind: text('kind').$type<JobKind>().notNull().default('move'),
    /** Sealed JSON of the connection settings, password included (secrets.ts); null where the archive stands in its place. */
    source: text('source'),
    target: text('target'),
    /** Sealed JSON of the hand-over and the hooks as they were given; `options` names them without their secrets. Null where there are none. */
    calls: text('calls'),
    /** When the passwords were taken out of what is sealed, because nothing of the job needs them any more; null: they are there. */
    passwordsForgottenAt: moment('passwords_forgotten_at'),
    /** Directory or file of the agent's machine that is written to or read from; null for a move. */
    archive: text('archive'),
    /** Jobs that were made together, one a database of the same two servers. */
    groupId: text('group_id'),
    groupName: text('group_name'),
    options: jsonb('options').$type<JobOptions>().notNull(),
    totals: jsonb('totals').$type<JobTotals>().notNull(),
    verified: boolean('verified').notNull().default(false),
    differences: integer('differences').notNull().default(0),
    error: jsonb('error').$type<ErrorView>(),
    /** The agent that alone may write this job's events. */
    ownerId: text('owner_id'),
    /** True while the owner holds a run of this job in memory; after a crash it tells what was interrupted. */
    held: boolean('held').notNull().default(false),
    /** True from the first change of the target: its contents are then this job's own. */
    targetTouched: boolean('target_touched').notNull().default(false),
    lastSeq: bigint('last_seq', { mode: 'number' }).notNull().default(0),
    /** What a live job has made on both servers; null for others. Stored before it is made. */
    live: jsonb('live').$type<LiveState>(),
    /** True while a live job that no person paused is to go on by itself when an agent starts. */
    goesOn: boolean('goes_on').notNull().default(false),
    snapshotAt: moment('snapshot_at'),
    createdAt: moment('created_at').notNull().defaultNow(),
    startedAt: moment('started_at'),
    finishedAt: moment('finished_at'),
    updatedAt: moment('updated_at').notNull().defaultNow(),
  },
  (t) => [index('jobs_created_at').on(t.createdAt), index('jobs_group_id').on(t.groupId)],
);

const jobId = () =>
  text('job_id')
    .notNull()
    .references(() => jobs.id, { onDelete: 'cascade' });

export const jobTables = state.table(
  'job_tables',
  {
    jobId: jobId(),
    schemaName: text('schema_name').notNull(),
    tableName: text('table_name').notNull(),
    progress: jsonb('progress').$type<TableProgress>().notNull(),
  },
  (t) => [primaryKey({ columns: [t.jobId, t.schemaName, t.tableName] })],
);

export const jobChecks = state.table(
  'job_checks',
  {
    jobId: jobId(),
    checkId: text('check_id').notNull(),
    side: text('side').notNull(),
    /** Order in which the checks were answered. */
    position: integer('position').notNull(),
    result: jsonb('result').$type<CheckResult>().notNull(),
  },
  (t) => [primaryKey({ columns: [t.jobId, t.checkId, t.side] })],
);

/** Which warnings a person has accepted. Outlives a new validation; holds where the check finds the same again. */
export const jobAcceptances = state.table(
  'job_acceptances',
  {
    jobId: jobId(),
    checkId: text('check_id').notNull(),
    side: text('side').notNull(),
    /** What the check found when it was accepted. */
    found: text('found').notNull(),
    acceptedBy: text('accepted_by').notNull(),
    note: text('note').notNull(),
    acceptedAt: moment('accepted_at').notNull().defaultNow(),
  },
  (t) => [primaryKey({ columns: [t.jobId, t.checkId, t.side] })],
);

/**
 * A job's events in the batches they were written in: a log of ten million lines is then twenty thousand rows, which are read,
 * searched, pruned and vacuumed in moments. seq is allocated by the job's owner, gapless; a serial would not do, because its values
 * commit out of order. No foreign key: removing a job deletes its events in pieces.
 */
export const jobEventBatches = state.table(
  'job_event_batches',
  {
    jobId: text('job_id').notNull(),
    firstSeq: bigint('first_seq', { mode: 'number' }).notNull(),
    lastSeq: bigint('last_seq', { mode: 'number' }).notNull(),
    /** Of the last event. */
    at: moment('at').notNull(),
    /** Length of `events`. */
    characters: integer('characters').notNull(),
    /** JSON array of the events as they are sent, in the order of seq. Nothing looks into it here, so it is no jsonb. */
    events: text('events').notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.jobId, t.lastSeq] }),
    check('job_event_batches_seq', sql`${t.firstSeq} > 0 and ${t.lastSeq} >= ${t.firstSeq}`),
  ],
);

export const jobReports = state.table('job_reports', {
  jobId: jobId().primaryKey(),
  report: jsonb('report').$type<Report>().notNull(),
  writtenAt: moment('written_at').notNull().defaultNow(),
});

export const hookStates = ['due', 'calling', 'done', 'failed'] as const;
export type HookState = (typeof hookStates)[number];

/** Each calling of a hook; stored before it is called, so that it is known afterwards that it may have been. */
export const jobHooks = state.table(
  'job_hooks',
  {
    /** Sent along, so that whoever is called twice can tell. */
    delivery: text('delivery').primaryKey(),
    jobId: jobId(),
    moment: text('moment').$type<HookMoment>().notNull(),
    /** Place of the hook in the job's options. */
    position: integer('position').notNull(),
    state: text('state').$type<HookState>().notNull(),
    createdAt: moment('created_at').notNull().defaultNow(),
  },
  (t) => [index('job_hooks_job_id').on(t.jobId, t.moment, t.position)],
);

/** What a bearer of a token may do: each includes those before it. */
export const accessRoles = ['view', 'operate', 'admin'] as const;

/** Tokens that people have made beside the agent's own. Only their SHA-256 stands here (access-queries.ts says why that is enough). */
export const accessTokens = state.table('access_tokens', {
  id: text('id').primaryKey(),
  /** SHA-256 of the token, in hexadecimal digits. */
  hash: text('hash').notNull().unique(),
  name: text('name').notNull(),
  role: text('role').$type<(typeof accessRoles)[number]>().notNull(),
  createdAt: moment('created_at').notNull().defaultNow(),
  /** Kept to the minute. */
  lastUsedAt: moment('last_used_at'),
  expiresAt: moment('expires_at'),
  revokedAt: moment('revoked_at'),
});

/** Links that show one job and nothing else; they go with their job. */
export const jobShares = state.table(
  'job_shares',
  {
    id: text('id').primaryKey(),
    jobId: jobId(),
    hash: text('hash').notNull().unique(),
    createdBy: text('created_by').notNull(),
    createdAt: moment('created_at').notNull().defaultNow(),
    lastUsedAt: moment('last_used_at'),
    expiresAt: moment('expires_at').notNull(),
    revokedAt: moment('revoked_at'),
  },
  (t) => [index('job_shares_job_id').on(t.jobId)],
);

/** Who did what. Outlives the jobs it speaks of; holds no request body, so no secret. */
export const auditLog = state.table(
  'audit_log',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    at: moment('at').notNull().defaultNow(),
    /** Id of the token or share; `agent` for the agent's own token, `cli` for a command on the state itself. */
    actor: text('actor').notNull(),
    actorName: text('actor_name').notNull(),
    /** Address of the client; empty for a command on the state itself. */
    address: text('address').notNull(),
    action: text('action').notNull(),
    /** Id of the job, group, token or share that was acted on. */
    subject: text('subject'),
    /** HTTP status; 200 where a command did it. */
    status: integer('status').notNull(),
    /** What was refused or failed; null where it was done. */
    code: text('code'),
  },
  (t) => [index('audit_log_at').on(t.at)],
);
