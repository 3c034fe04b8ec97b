import { archiveRooms } from '../../src/jobs/archive-rooms.ts';
import type { CheckResult } from '../../src/contract/check.ts';
import type { TableProgress } from '../../src/contract/event.ts';
import type { Verification } from '../../src/contract/report.ts';
import { PgsluiceError, throwIfAborted } from '../../src/errors.ts';
import type { CloneContext, CloneOutcome } from '../../src/clone/clone.ts';
import type { Facts, JobRooms, ValidateInput } from '../../src/jobs/rooms.ts';
import type { SourceSnapshot } from '../../src/postgres/snapshot.ts';
import { fakeLive, fakeWorld } from './fake-live.ts';

/** What a fake migration does; every field may be changed while it runs. */
export interface Script {
  blocked: boolean;
  tables: number;
  /** Log lines a table. */
  linesPerTable: number;
  /** ms a table. */
  tableMs: number;
  /** Tables that fail until a retry. */
  failFirst: number;
  /** The copy can be retried under its snapshot. */
  canRetry: boolean;
  differences: number;
  verifyFails: boolean;
  /** The rooms do not react to the signal. */
  deaf: boolean;
}

export interface FakeRooms extends JobRooms {
  readonly script: Script;
  /** What was asked of the rooms, in order. */
  readonly calls: string[];
  readonly clones: CloneContext[];
  readonly validated: ValidateInput[];
}

const version = { num: 150_018, major: 15, text: '15.18', full: 'PostgreSQL 15.18' };
const side = { version, connectionsAvailable: 5 };
const facts: Facts = {
  source: side,
  target: side,
  tools: { dir: '/bin', pgDump: '/bin/pg_dump', pgRestore: '/bin/pg_restore', major: 15, version: '15.18' },
};

const check = (outcome: CheckResult['outcome']): CheckResult => ({
  id: 'objects.empty',
  family: 'objects',
  side: 'target',
  outcome,
  code: outcome === 'failed' ? 'TARGET_NOT_EMPTY' : null,
  title: 'The target is empty.',
  found: 'x',
  remedy: '',
  elapsedMs: 1,
});

const notEmpty = new PgsluiceError({
  code: 'TARGET_NOT_EMPTY',
  message: 'The target is not empty.',
  hint: 'Empty it.',
});

/** Rooms that touch no server, so that the job machinery is tested alone. */
export function fakeRooms(changes: Partial<Script> = {}, world = fakeWorld()): FakeRooms {
  const script: Script = {
    blocked: false,
    tables: 3,
    linesPerTable: 1,
    tableMs: 1,
    failFirst: 0,
    canRetry: true,
    differences: 0,
    verifyFails: false,
    deaf: false,
    ...changes,
  };
  const calls: string[] = [];
  const clones: CloneContext[] = [];
  const validated: ValidateInput[] = [];
  return {
    readApplications: () => Promise.resolve([]),
    script,
    calls,
    clones,
    validated,
    validate: (input) => {
      validated.push(input);
      calls.push(`validate ownTarget=${input.ownTarget}`);
      input.onCheck(check(script.blocked ? 'failed' : 'passed'));
      return Promise.resolve({
        checks: [check(script.blocked ? 'failed' : 'passed')],
        blocked: script.blocked,
        error: script.blocked ? notEmpty.report() : null,
        facts,
        method: input.options.method === 'live' ? 'live' : 'copy',
        methodReason: 'nobody asked for little downtime.',
      });
    },
    createClone: (input) => {
      calls.push(`clone replaceTarget=${input.replaceTarget}`);
      clones.push(input);
      return fakeClone(input, script, calls);
    },
    takeMoment: () => Promise.reject(new Error('no fake job reads its source early')),
    verifyDatabases: async (input) => {
      calls.push(`verify snapshot=${input.snapshot === null ? 'own' : 'kept'}`);
      await pause(input.signal, script);
      if (script.verifyFails) throw new PgsluiceError({ code: 'CONNECTION_LOST', message: 'Lost.', hint: 'Retry.' });
      return verification(script.differences);
    },
    readDisk: () => Promise.resolve({ databaseBytes: 0, freeBytes: null }),
    reportHtml: (report) => `<h1>${report.name}</h1>`,
    live: fakeLive(world, facts),
    archives: archiveRooms,
    targetDatabase: {
      read: () => Promise.reject(new Error('no fake job makes a database')),
      create: () => Promise.resolve(false),
      finish: () => Promise.resolve({ statements: [], todo: [] }),
    },
  };
}

function fakeClone(input: CloneContext, script: Script, calls: string[]): ReturnType<JobRooms['createClone']> {
  const done = new Set<number>();
  const snapshot = { alive: true, takenAt: '2026-11-21T09:14:00Z' };
  let open = false;
  return {
    get snapshot() {
      return open ? (snapshot as unknown as SourceSnapshot) : null;
    },
    sourceArchive: null,
    sequences: null,
    get canRetry() {
      return open && script.canRetry;
    },
    run: async () => {
      calls.push('run');
      await input.beforeFirstWrite();
      open = true;
      input.emit({ type: 'phase', phase: 'schema', status: 'started', seconds: null, detail: '' });
      input.emit({ type: 'phase', phase: 'copy', status: 'started', seconds: null, detail: '' });
      for (let n = 0; n < script.tables; n += 1) {
        if (done.has(n)) continue;
        await input.gate.wait(input.signal);
        await pause(input.signal, script);
        const failed = n < script.failFirst;
        if (!failed) done.add(n);
        for (let line = 0; line < script.linesPerTable; line += 1) {
          input.emit({ type: 'log', level: 'info', message: `table t${n} line ${line}` });
        }
        input.emit({ type: 'table', table: progress(n, failed ? 'failed' : 'copied') });
        input.emit(metric(script.tables, done.size));
      }
      const ok = done.size === script.tables;
      script.failFirst = 0;
      return result(ok, script.tables);
    },
    close: () => {
      calls.push('close');
      open = false;
      return Promise.resolve();
    },
  };
}

async function pause(signal: AbortSignal, script: Script): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, script.tableMs));
  if (!script.deaf) throwIfAborted(signal);
}

function result(ok: boolean, tables: number): CloneOutcome {
  return {
    ok,
    error: ok ? null : new PgsluiceError({ code: 'TABLES_FAILED', message: '1 table failed.', hint: 'Retry the job.' }),
    failedTables: [],
    restoreProblems: [],
    phases: [],
    moved: { tables, rows: tables * 10, bytes: tables * 1000, indexes: 0, sequences: 0, largeObjects: 0 },
    targetExtensions: [],
    todo: ['Point your application at the target.'],
  };
}

const metric = (tables: number, tablesDone: number) => ({
  type: 'metric' as const,
  tables,
  tablesDone,
  rows: tablesDone * 10,
  bytes: tablesDone * 1000,
  fraction: tablesDone / tables,
  bytesPerSecond: 0,
  rowsPerSecond: 0,
  remaining: null,
  waiting: null,
});

const progress = (n: number, state: TableProgress['state']): TableProgress => ({
  schema: 'public',
  name: `t${n}`,
  state,
  rows: 10,
  bytes: 1000,
  sizeBytes: 1000 - n,
  estimatedRows: 10,
  format: 'binary',
  rate: 0,
  seconds: 0,
  attempts: 1,
  error: null,
});

const verification = (differences: number): Verification => ({
  mode: 'full',
  verified: differences === 0,
  tables: [],
  sequencesCompared: 0,
  largeObjectsCompared: 0,
  objectsCompared: 1,
  differences: Array.from({ length: differences }, (_, n) => ({
    kind: 'ROWS',
    name: `t${n}`,
    change: 'different' as const,
    source: '1',
    target: '2',
  })),
  notChecked: [],
  seconds: 0,
});
