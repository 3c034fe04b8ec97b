import { mkdtemp, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compare } from './compare.ts';
import { live } from './live.ts';
import { memory } from './memory.ts';
import { gentle } from './gentle.ts';
import { load } from './load.ts';
import { type BenchOptions, parseOptions, usage } from './options.ts';
import { print } from './report.ts';
import { schema, startMajors } from './schema.ts';
import { path, startTlsServers } from './path.ts';
import { startServers } from './servers.ts';
import { summary } from './summary.ts';
import { validate } from './validate.ts';

type ServerCommand = Exclude<BenchOptions['command'], 'help' | 'summary'>;

async function run(command: ServerCommand, options: BenchOptions): Promise<void> {
  const interrupted = new AbortController();
  const stop = (signal: NodeJS.Signals): void => interrupted.abort(new Error(`Stopped by ${signal}.`));
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const workDir = await mkdtemp(join(tmpdir(), 'pgsluice-bench-'));
  try {
    const start = { schema: startMajors, path: () => startTlsServers(workDir) };
    const servers = await (command === 'schema' || command === 'path' ? start[command]() : startServers());
    // Statements that fill a database end with their server.
    const halt = (): void => void servers.stop();
    interrupted.signal.addEventListener('abort', halt);
    try {
      if (!existsSync(join(servers.binDir, 'pg_dump'))) {
        throw new Error(
          `${servers.binDir} has a server but no pg_dump. Install PostgreSQL with its client programs, or set PGSLUICE_TEST_PG_BIN.`,
        );
      }
      const bench = { compare, memory, live, path, schema, validate, gentle, load }[command];
      await bench(servers, options, workDir, interrupted.signal);
    } finally {
      interrupted.signal.removeEventListener('abort', halt);
      await servers.stop();
    }
  } catch (error) {
    interrupted.signal.throwIfAborted();
    throw error;
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}

try {
  const options = parseOptions(process.argv.slice(2));
  const { command } = options;
  if (command === 'help') print(usage);
  else if (command === 'summary') await summary(options);
  else await run(command, options);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
