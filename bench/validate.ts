import { dirname } from 'node:path';
import { type ValidationOutcome, validate as validateBoth } from '../src/checks/validate.ts';
import { JobOptions } from '../src/contract/options.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { startProxy } from '../test/support/proxy.ts';
import { pgDumpFor } from '../test/support/servers.ts';
import { describeMachine } from './machine.ts';
import type { BenchOptions } from './options.ts';
import { print, printMachine, table, writeResult } from './report.ts';
import { type BenchServers, dropDatabase } from './servers.ts';
import { spread } from './stats.ts';

const counts = [100, 1_000, 10_000] as const;
/** Half of the 80 ms that a round trip takes on the long line. */
const oneWayMs = 40;
const database = 'bench_validate';

interface Timing {
  readonly tables: number;
  readonly line: 'local' | '80 ms';
  readonly seconds: readonly number[];
  /** ms, of the last run. */
  readonly slowest: readonly { readonly id: string; readonly ms: number }[];
}

/** Tables with a primary key, a unique key, an index, a foreign key and a comment: what checks look at. */
async function fill(servers: BenchServers, tables: number): Promise<void> {
  await dropDatabase(servers.source, database);
  await servers.source.createDatabase(database);
  await servers.source.run(
    `DO $$ BEGIN FOR i IN 1..${tables} LOOP
       EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, parent int REFERENCES t%s, a text UNIQUE, b timestamptz); CREATE INDEX ON t%s (b)',
         i, greatest(1, i - 1), i);
       EXECUTE format('INSERT INTO t%s SELECT i, NULL, ''row '' || i, now() FROM generate_series(1, 20) i', i);
       IF i % 250 = 0 THEN COMMIT; END IF; END LOOP; END $$`,
    database,
  );
  await servers.source.run('VACUUM ANALYZE', database);
}

async function once(
  sourceUrl: string,
  targetUrl: string,
  tools: string,
  signal: AbortSignal,
): Promise<ValidationOutcome> {
  const outcome = await validateBoth({
    source: parseEndpoint({ url: sourceUrl }, 'source'),
    target: parseEndpoint({ url: targetUrl }, 'target'),
    options: JobOptions.parse({ method: 'auto', cutover: 'manual' }),
    pgBinDir: tools,
    signal,
    onCheck: () => undefined,
  });
  if (outcome.blocked) throw new Error(`The validation is blocked: ${outcome.error?.message ?? ''}`);
  return outcome;
}

/** Time of a whole validation, live checks included, by the number of tables; growth from one number to the next beside that of the tables. */
export async function validate(
  servers: BenchServers,
  options: BenchOptions,
  _workDir: string,
  signal: AbortSignal,
): Promise<void> {
  const machine = await describeMachine(servers);
  printMachine(machine);
  const { source, target } = servers;
  const tools = dirname(await pgDumpFor(Math.max(source.major, target.major), servers.binDir));
  const [near, far] = await Promise.all(
    [source, target].map((server) => startProxy(server.port, undefined, undefined, undefined, oneWayMs)),
  );
  const timings: Timing[] = [];
  try {
    await dropDatabase(target, database);
    await target.createDatabase(database);
    for (const tables of counts) {
      signal.throwIfAborted();
      await fill(servers, tables);
      for (const line of ['local', '80 ms'] as const) {
        const through = (server: typeof source, port: number | undefined): string =>
          line === 'local' ? server.url(database) : server.url(database).replace(`:${server.port}/`, `:${port ?? 0}/`);
        const seconds: number[] = [];
        let last: ValidationOutcome | null = null;
        for (let round = 0; round < options.rounds; round += 1) {
          const start = performance.now();
          last = await once(through(source, near?.port), through(target, far?.port), tools, signal);
          seconds.push((performance.now() - start) / 1000);
        }
        const slowest = (last?.checks ?? [])
          .map(({ id, elapsedMs }) => ({ id, ms: elapsedMs }))
          .toSorted((a, b) => b.ms - a.ms)
          .slice(0, 5);
        timings.push({ tables, line, seconds, slowest });
        print(
          `${tables} tables, ${line}: ${spread(seconds).median.toFixed(2)} s; slowest ${slowest.map((s) => `${s.id} ${Math.round(s.ms)} ms`).join(', ')}`,
        );
      }
    }
  } finally {
    await Promise.all([near?.close(), far?.close()]);
  }
  print();
  print(
    table(
      ['line', 'tables', 'seconds', 'growth', 'of tables'],
      timings.map((timing) => row(timing, timings)),
    ),
  );
  print(`\nWritten to ${await writeResult('validate', { machine, timings })}`);
}

/** Growth from the number of tables before, on the same line; no worse than linear where it is not above that of the tables. */
function row(timing: Timing, all: readonly Timing[]): string[] {
  const median = spread(timing.seconds).median;
  const before = all.filter((one) => one.line === timing.line && one.tables < timing.tables).at(-1);
  const growth = before === undefined ? '' : `${(median / spread(before.seconds).median).toFixed(1)} x`;
  const tables = before === undefined ? '' : `${timing.tables / before.tables} x`;
  return [timing.line, String(timing.tables), median.toFixed(2), growth, tables];
}
