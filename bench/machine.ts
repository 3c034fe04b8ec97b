import { cpus, release, totalmem } from 'node:os';
import type { BenchServers } from './servers.ts';
import { serverSettings } from './servers.ts';

/** What figures are worth nothing without. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly system: string;
  readonly node: string;
  readonly servers: string;
  readonly settings: Readonly<Record<string, string>>;
}

export async function describeMachine({ source }: BenchServers): Promise<Machine> {
  const [row] = await source.query('SELECT version() AS version');
  const processors = cpus();
  return {
    cpu: processors[0]?.model ?? 'unknown processor',
    cores: processors.length,
    memoryBytes: totalmem(),
    system: `${process.platform} ${release()} ${process.arch}`,
    node: process.version,
    servers: String(row?.['version']),
    settings: serverSettings,
  };
}
