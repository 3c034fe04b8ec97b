import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sql } from 'drizzle-orm';
import { readMigrationFiles } from 'drizzle-orm/migrator';
import { PgsluiceError } from '../errors.ts';
import { rowsOf, type StateDatabase } from './database.ts';

const schemaName = 'pgsluice';
const tableName = 'migrations';

/** `migrations/` beside package.json, found from src/ and from dist/ alike. */
export function migrationsFolder(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, 'migrations', 'meta', '_journal.json'))) {
    const parent = dirname(directory);
    if (parent === directory) {
      throw new PgsluiceError({
        code: 'INSTALLATION_INCOMPLETE',
        message: 'The folder migrations/ of the pgsluice package is missing.',
        hint: 'Install pgsluice again.',
      });
    }
    directory = parent;
  }
  return join(directory, 'migrations');
}

/** Pure: what to do with a state whose newest applied migration is `applied` (null: none), given those this program brings. */
export function migrationStep(applied: number | null, known: readonly number[]): 'nothing' | 'migrate' | 'too-new' {
  const newest = Math.max(...known);
  if (applied === null || applied < newest) return 'migrate';
  return applied > newest ? 'too-new' : 'nothing';
}

/**
 * Brings the state's schema to this program's version. Safe to run by any number of processes at once when `db` is one
 * connection: an advisory lock of that connection lets one of them work.
 * @throws PgsluiceError STATE_TOO_NEW when a newer program has already changed the schema.
 */
export async function migrateState(db: StateDatabase, locking: 'advisory' | 'exclusive'): Promise<void> {
  const migrations = readMigrationFiles({ migrationsFolder: migrationsFolder() });
  const lock = sql`hashtextextended('pgsluice migrations', 0)`;
  if (locking === 'advisory') await db.execute(sql`select pg_advisory_lock(${lock})`);
  try {
    const known = migrations.map((migration) => migration.folderMillis);
    switch (migrationStep(await newestApplied(db), known)) {
      case 'nothing':
        return;
      case 'too-new':
        throw new PgsluiceError({
          code: 'STATE_TOO_NEW',
          message: 'This state was written by a newer version of pgsluice.',
          hint: 'Update pgsluice, or use another state with --state.',
        });
      case 'migrate':
        await applyMigrations(db, migrations);
    }
  } finally {
    if (locking === 'advisory') await db.execute(sql`select pg_advisory_unlock(${lock})`);
  }
}

async function newestApplied(db: StateDatabase): Promise<number | null> {
  const [found] = rowsOf<{ there: boolean }>(
    await db.execute(sql`select to_regclass(${`${schemaName}.${tableName}`}) is not null as there`),
  );
  if (found?.there !== true) return null;
  const [row] = rowsOf<{ newest: string | number | null }>(
    await db.execute(
      sql`select max(created_at) as newest from ${sql.identifier(schemaName)}.${sql.identifier(tableName)}`,
    ),
  );
  return row?.newest === null || row?.newest === undefined ? null : Number(row.newest);
}

/** drizzle's own bookkeeping table, so that drizzle-kit understands the state too; all or nothing. */
async function applyMigrations(db: StateDatabase, migrations: ReturnType<typeof readMigrationFiles>): Promise<void> {
  const table = sql`${sql.identifier(schemaName)}.${sql.identifier(tableName)}`;
  await db.transaction(async (tx) => {
    await tx.execute(sql`create schema if not exists ${sql.identifier(schemaName)}`);
    await tx.execute(
      sql`create table if not exists ${table} (id serial primary key, hash text not null, created_at bigint)`,
    );
    const rows = rowsOf<{ created_at: string | number }>(await tx.execute(sql`select created_at from ${table}`));
    const applied = new Set(rows.map((row) => Number(row.created_at)));
    for (const migration of migrations) {
      if (applied.has(migration.folderMillis)) continue;
      for (const statement of migration.sql) {
        if (statement.trim() !== '') await tx.execute(sql.raw(statement));
      }
      await tx.execute(
        sql`insert into ${table} (hash, created_at) values (${migration.hash}, ${migration.folderMillis})`,
      );
    }
  });
}
