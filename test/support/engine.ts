import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClone } from '../../src/clone/clone.ts';
import type { CloneRun } from '../../src/clone/clone.ts';
import type { JobEventBody } from '../../src/contract/event.ts';
import { JobOptions } from '../../src/contract/options.ts';
import { PauseGate } from '../../src/gate.ts';
import { openSession } from '../../src/postgres/session.ts';
import { parseEndpoint } from '../../src/postgres/settings.ts';
import type { ConnectionSettings } from '../../src/postgres/settings.ts';
import { findPgTools } from '../../src/postgres/tools.ts';
import { readServerVersion } from '../../src/postgres/version.ts';
import type { ServerVersion } from '../../src/postgres/version.ts';
import { pgDumpFor } from './servers.ts';

export interface EngineInput {
  readonly sourceUrl: string;
  readonly targetUrl: string;
  readonly options?: Partial<JobOptions>;
  readonly connections?: { readonly source: number; readonly target: number };
  readonly replaceTarget?: boolean;
  readonly onEvent?: (event: JobEventBody) => void;
}

export interface Engine {
  readonly run: CloneRun;
  readonly events: JobEventBody[];
  readonly abort: AbortController;
  readonly gate: PauseGate;
  /** Log messages, one string. */
  logText(): string;
  close(): Promise<void>;
}

async function version(settings: ConnectionSettings, side: 'source' | 'target'): Promise<ServerVersion> {
  const session = await openSession(settings, { signal: new AbortController().signal, side, purpose: 'version' });
  try {
    return await readServerVersion(session);
  } finally {
    await session.close();
  }
}

/** The clone room as a job drives it, without a job around it. */
export async function openEngine(input: EngineInput): Promise<Engine> {
  const source = parseEndpoint({ url: input.sourceUrl }, 'source');
  const target = parseEndpoint({ url: input.targetUrl }, 'target');
  const [sourceVersion, targetVersion] = [await version(source, 'source'), await version(target, 'target')];
  const minMajor = Math.max(sourceVersion.major, targetVersion.major);
  const tools = await findPgTools({ binDir: join(await pgDumpFor(minMajor, null), '..'), minMajor });
  const events: JobEventBody[] = [];
  const abort = new AbortController();
  const gate = new PauseGate();
  const workDir = await mkdtemp(join(tmpdir(), 'pgsluice-test-work-'));
  const run = createClone({
    source,
    target,
    options: { ...JobOptions.parse({}), ...input.options },
    tools,
    sourceVersion,
    targetVersion,
    connections: input.connections ?? { source: 4, target: 6 },
    workDir,
    signal: abort.signal,
    gate,
    replaceTarget: input.replaceTarget ?? false,
    beforeFirstWrite: () => Promise.resolve(),
    emit: (event) => {
      events.push(event);
      input.onEvent?.(event);
    },
  });
  return {
    run,
    events,
    abort,
    gate,
    logText: () => events.flatMap((event) => (event.type === 'log' ? [event.message] : [])).join('\n'),
    close: async () => {
      await run.close();
      await rm(workDir, { recursive: true, force: true });
    },
  };
}
