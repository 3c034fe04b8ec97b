import { access, constants, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestServer } from './servers.ts';

/** A tiny extension with a configuration table, in versions of one's choice; its files are gone after `remove`. */
export interface ExtensionFiles {
  readonly name: string;
  remove(): Promise<void>;
}

/** Folder in which the server looks for extensions. */
async function extensionDir(server: TestServer): Promise<string> {
  const [row] = await server.query(`SELECT setting FROM pg_config() WHERE name = 'SHAREDIR'`);
  return join(String(row?.['setting']), 'extension');
}

/** Why no extension can be put there; null when it can. */
export async function whyNoFiles(server: TestServer): Promise<string | null> {
  const dir = await extensionDir(server);
  try {
    await access(dir, constants.W_OK);
    return null;
  } catch {
    return `${dir} cannot be written to`;
  }
}

const firstVersion = `
CREATE TABLE settings (key text PRIMARY KEY, value text, built_in boolean NOT NULL DEFAULT false);
INSERT INTO settings VALUES ('colour', 'red', true), ('size', 'small', true);
SELECT pg_catalog.pg_extension_config_dump('settings', 'WHERE NOT built_in');
CREATE SEQUENCE ticket;
SELECT pg_catalog.pg_extension_config_dump('ticket', '');
CREATE FUNCTION release() RETURNS text LANGUAGE sql IMMUTABLE RETURN '1.0';`;

/** What leads from each version to the next. */
const updates: Readonly<Record<string, string>> = {
  '1.0--1.1': `CREATE OR REPLACE FUNCTION release() RETURNS text LANGUAGE sql IMMUTABLE RETURN '1.1';`,
  '1.1--2.0': `ALTER TABLE settings ADD COLUMN since date DEFAULT '2026-01-01';
    CREATE OR REPLACE FUNCTION release() RETURNS text LANGUAGE sql IMMUTABLE RETURN '2.0';`,
};

/**
 * Puts files on the server's machine from which CREATE EXTENSION makes versions 1.0, 1.1 and 2.0; where `from` is 1.1, that is
 * the oldest. `defaultVersion`: what it makes unasked.
 */
export async function installExtensionFiles(
  server: TestServer,
  name: string,
  defaultVersion: string,
  from: '1.0' | '1.1' = '1.0',
): Promise<ExtensionFiles> {
  const dir = await extensionDir(server);
  const files = new Map([
    [
      `${name}.control`,
      `default_version = '${defaultVersion}'\nrelocatable = true\ntrusted = true\ncomment = 'a test'\n`,
    ],
    [`${name}--${from}.sql`, from === '1.0' ? firstVersion : `${firstVersion}\n${updates['1.0--1.1'] ?? ''}`],
    ...Object.entries(updates)
      .filter(([step]) => from === '1.0' || !step.startsWith('1.0'))
      .map(([step, sql]) => [`${name}--${step}.sql`, sql] as const),
  ]);
  for (const [file, text] of files) await writeFile(join(dir, file), text, { mode: 0o644 });
  return {
    name,
    remove: async () => {
      for (const file of files.keys()) await rm(join(dir, file), { force: true });
    },
  };
}
