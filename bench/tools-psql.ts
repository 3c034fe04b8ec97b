import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Contest, type Tool, firstLine, peerEnvironment, tuned } from './contest.ts';

const dump = (contest: Contest): string => join(contest.workDir, 'psql.dump');
/** The large one first; all at once, since the others are a few rows. */
const tables = ['pgbench_accounts', 'pgbench_tellers', 'pgbench_branches', 'pgbench_history'];

/** $FROM and $INTO: conninfo of the two ends; arguments: psql and the tables. */
const script = `set -euo pipefail
psql=$1; shift; pipes=()
for table in "$@"; do
  "$psql" -Xq -d "$FROM" -c "COPY $table TO STDOUT (FORMAT binary)" | "$psql" -Xq -d "$INTO" -c "COPY $table FROM STDIN (FORMAT binary)" &
  pipes+=($!)
done
for pipe in "\${pipes[@]}"; do wait "$pipe"; done`;

/** What a person types who has one large table: definitions by pg_dump, its rows through a pipe, then the keys. */
export async function psqlCopy(binDir: string, jobs: number): Promise<Tool> {
  return {
    name: 'psql-copy',
    version: await firstLine(join(binDir, 'psql'), ['--version'], /PostgreSQL/),
    how: `pg_dump -s, psql COPY TO STDOUT | psql COPY FROM STDIN in binary, pg_restore -j${jobs} of the keys, with PGOPTIONS ${tuned}`,
    only: ['pgbench'],
    prepare: (contest) => rm(dump(contest), { force: true }),
    commands: (contest) => {
      const { source, target } = contest.servers;
      const at = (server: typeof source): string[] => ['-h', server.host, '-p', String(server.port), '-U', server.user];
      const ends = (server: typeof source): string =>
        `host=${server.host} port=${server.port} user=${server.user} dbname=${contest.database}`;
      // Both servers have the same password.
      const env = peerEnvironment(contest, source.password, tuned);
      const restore = (
        section: string,
        more: readonly string[] = [],
      ): { file: string; args: string[]; env: typeof env } => ({
        file: join(binDir, 'pg_restore'),
        args: [
          ...at(target),
          '-d',
          contest.database,
          `--section=${section}`,
          '--exit-on-error',
          ...more,
          dump(contest),
        ],
        env,
      });
      return [
        {
          file: join(binDir, 'pg_dump'),
          args: [...at(source), '-d', contest.database, '-s', '-Fc', '-f', dump(contest)],
          env,
        },
        restore('pre-data'),
        {
          file: '/bin/bash',
          args: ['-c', script, 'psql-copy', join(binDir, 'psql'), ...tables],
          env: { ...env, FROM: ends(source), INTO: ends(target) },
        },
        restore('post-data', ['-j', String(jobs)]),
      ];
    },
  };
}
