import { parseArgs } from 'node:util';
import { type LiveWorkloadName, liveWorkloadNames } from './live-workloads.ts';

export const workloadNames = [
  'pgbench',
  'mixed',
  'many',
  'empty',
  'indexes',
  'keys',
  'toast',
  'blobs',
  'skew',
  'far',
] as const;
export type WorkloadName = (typeof workloadNames)[number];
const commandNames = ['compare', 'live', 'path', 'summary', 'memory', 'schema', 'validate', 'gentle', 'load'] as const;
export const besideNames = ['ordinary', 'gentle', 'snapshot'] as const;
export const usersNames = ['fixed', 'unlimited'] as const;
export const stateNames = ['embedded', 'postgresql'] as const;
export const toolNames = [
  'pgsluice',
  'dump-restore',
  'psql-copy',
  'pgcopydb',
  'pgcopydb-binary',
  'pgcopydb-split',
] as const;
export type ToolName = (typeof toolNames)[number];

export const usage = `npm run bench -- [compare|live|path|summary|memory|schema|validate|gentle|load] [options]

compare (default)  wall time, CPU and memory of pgsluice beside pg_dump | pg_restore, psql's COPY through a pipe (one big table) and pgcopydb, in turn on the same two servers
live               applying a recorded backlog of WAL beside PostgreSQL's own subscription, in turn on the same two servers
path               the agent's CPU time a GB that it copies, from socket to socket and by pg-copy-streams, without TLS and with it
summary            all targets and whether they are reached, from the newest figures at the largest scale in bench/results, and the chart
memory             peak memory of the agent while it clones databases of several sizes
schema             a schema of 5,000 tables, 20,000 indexes and 3,000 partitions, PostgreSQL 15 to 17, beside pg_dump -Fc and pg_restore -j
validate           time of a whole validation by the number of tables (100, 1,000, 10,000), near and with 80 ms a round trip
gentle             what pgbench loses on the source beside an ordinary copy, a gentle one, and a snapshot that is held for as long and reads nothing; at a fixed rate and at full speed
load               the agent with 220 jobs, 1,000 WebSocket clients and 10 million log lines: memory, answers of the API, lost events

  --workloads LIST   of ${workloadNames.join(',')} (default: all)
  --tools LIST       of ${toolNames.join(',')} (default: all that are found)
  --rounds N         timed runs of every tool (default 5)
  --jobs N           tables and indexes at once, for every tool (default 2)
  --scale F          size of the workloads; 1 is about 1.2 GB mixed, pgbench -s 100, 2,000 tables (default 1)
  --live LIST        live: of ${liveWorkloadNames.join(',')} (default: all)
  --alone            live: leave out the subscription; for the agent's memory on a backlog of many GB (--scale 20: 5 GB of insertions)
  --chart FILE       compare, live, summary: draw the ratios as an SVG (summary: default docs/bench.svg)
  --json             print all figures as JSON, and what is told meanwhile to stderr
  --no-limit         leave out what the servers alone would need
  --no-verified      leave out the extra run of pgsluice with its full verification in every round
  --sizes LIST       memory: sizes of the databases (default 1GB,5GB)
  --no-postgres-state   memory: only the embedded state, not the one in PostgreSQL
  --beside LIST      gentle: of ${besideNames.join(',')} (default: all)
  --users LIST       gentle: of ${usersNames.join(',')} (default: all)
  --states LIST      load: of ${stateNames.join(',')} (default: all)
  --lines N          load: log lines in the store (default 10000000)
  --seconds N        load: how long the API is measured at most; jobs that wait for their turn then are cancelled (default 90)

Environment: PGSLUICE_TEST_PG_BIN (folder with initdb, postgres, pg_dump, pg_restore), PGSLUICE_BENCH_PGCOPYDB (path of pgcopydb, or several with a colon between).
`;

export interface BenchOptions {
  readonly command: (typeof commandNames)[number] | 'help';
  readonly workloads: readonly WorkloadName[];
  readonly live: readonly LiveWorkloadName[];
  readonly tools: readonly ToolName[];
  readonly rounds: number;
  readonly jobs: number;
  readonly scale: number;
  readonly alone: boolean;
  readonly verified: boolean;
  readonly limit: boolean;
  readonly json: boolean;
  readonly chart: string | null;
  /** Bytes. */
  readonly sizes: readonly number[];
  readonly postgresState: boolean;
  readonly beside: readonly (typeof besideNames)[number][];
  readonly users: readonly (typeof usersNames)[number][];
  readonly states: readonly (typeof stateNames)[number][];
  readonly lines: number;
  readonly seconds: number;
}

/** @throws Error with one sentence for arguments that mean nothing. */
export function parseOptions(args: readonly string[]): BenchOptions {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      workloads: { type: 'string', default: workloadNames.join(',') },
      tools: { type: 'string', default: toolNames.join(',') },
      live: { type: 'string', default: liveWorkloadNames.join(',') },
      rounds: { type: 'string', default: '5' },
      jobs: { type: 'string', default: '2' },
      scale: { type: 'string', default: '1' },
      sizes: { type: 'string', default: '1GB,5GB' },
      alone: { type: 'boolean', default: false },
      'no-verified': { type: 'boolean', default: false },
      'no-limit': { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      chart: { type: 'string' },
      'no-postgres-state': { type: 'boolean', default: false },
      beside: { type: 'string', default: besideNames.join(',') },
      users: { type: 'string', default: usersNames.join(',') },
      states: { type: 'string', default: stateNames.join(',') },
      lines: { type: 'string', default: '10000000' },
      seconds: { type: 'string', default: '90' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const [command = 'compare', ...rest] = positionals;
  const known = commandNames.find((name) => name === command);
  if (rest.length > 0 || known === undefined) {
    throw new Error(`Unknown command "${positionals.join(' ')}". See npm run bench -- --help`);
  }
  return {
    command: values.help ? 'help' : known,
    workloads: listOf(values.workloads, workloadNames, '--workloads'),
    live: listOf(values.live, liveWorkloadNames, '--live'),
    tools: listOf(values.tools, toolNames, '--tools'),
    rounds: whole(values.rounds, '--rounds'),
    jobs: whole(values.jobs, '--jobs'),
    scale: positive(values.scale, '--scale'),
    alone: values.alone,
    verified: !values['no-verified'],
    limit: !values['no-limit'],
    json: values.json,
    chart: values.chart ?? null,
    sizes: values.sizes.split(',').map(parseSize),
    postgresState: !values['no-postgres-state'],
    beside: listOf(values.beside, besideNames, '--beside'),
    users: listOf(values.users, usersNames, '--users'),
    states: listOf(values.states, stateNames, '--states'),
    lines: whole(values.lines, '--lines'),
    seconds: whole(values.seconds, '--seconds'),
  };
}

function listOf<T extends string>(text: string, known: readonly T[], flag: string): T[] {
  return text.split(',').map((name) => {
    const found = known.find((candidate) => candidate === name.trim());
    if (found === undefined) throw new Error(`${flag} knows ${known.join(', ')}, but not "${name.trim()}".`);
    return found;
  });
}

function whole(text: string, flag: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${flag} must be a whole number from 1 on.`);
  return value;
}

function positive(text: string, flag: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new Error(`${flag} must be a number above 0.`);
  return value;
}

/** Bytes of `500MB`, `1.5GB`; decimal units. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(MB|GB)$/i.exec(text.trim());
  if (match === null) throw new Error(`"${text.trim()}" is no size; write it as 500MB or 5GB.`);
  return Number(match[1]) * (match[2]?.toUpperCase() === 'GB' ? 1e9 : 1e6);
}
