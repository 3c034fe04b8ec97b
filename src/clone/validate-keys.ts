import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { qualified, quoteIdent } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { BuildQueue } from './build-queue.ts';
import type { CloneContext } from './context.ts';
import { log } from './context.ts';
import type { SessionPool } from './session-pool.ts';
import type { ForeignKeyName } from './staged-types.ts';

function written(key: ForeignKeyName): string {
  return `${quoteIdent(key.name)} of ${qualified(key.schema, key.table)}`;
}

/** Of these keys, those that stand NOT VALID on the target. */
export async function listNotValid(target: Session, keys: readonly ForeignKeyName[]): Promise<ForeignKeyName[]> {
  const rows = await target.query<{ schema: string; table: string; name: string }>(
    `SELECT n.nspname AS schema, c.relname AS "table", k.conname AS name
     FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE k.contype = 'f' AND NOT k.convalidated`,
  );
  const standing = new Set(rows.map((row) => JSON.stringify([row.schema, row.table, row.name])));
  return keys.filter((key) => standing.has(JSON.stringify([key.schema, key.table, key.name])));
}

/**
 * Checks the rows of foreign keys that were made NOT VALID, several at once; users of the target go on reading and writing
 * (documentation, ALTER TABLE, "VALIDATE CONSTRAINT"). A key that is valid already costs nothing.
 * @throws PgsluiceError FOREIGN_KEY_VIOLATED, which names the keys that do not hold, after all were tried.
 */
export async function validateForeignKeys(
  context: CloneContext,
  targets: SessionPool,
  keys: readonly ForeignKeyName[],
): Promise<void> {
  const numbers = new Map<string, number>();
  const broken: string[] = [];
  const queue = new BuildQueue(context.options.indexJobs);
  queue.add(
    keys.map((key, at) => {
      const table = qualified(key.schema, key.table);
      if (!numbers.has(table)) numbers.set(table, numbers.size);
      return {
        locks: [numbers.get(table) ?? 0],
        exclusive: true,
        priority: -at,
        run: async () => {
          throwIfAborted(context.signal);
          const startedAt = Date.now();
          await targets.with(async (target) => {
            try {
              await target.run(`ALTER TABLE ${table} VALIDATE CONSTRAINT ${quoteIdent(key.name)}`);
            } catch (error) {
              if (context.signal.aborted || target.lost || !(error instanceof PgsluiceError)) throw error;
              broken.push(`${written(key)}: ${error.message}`);
              log(context, 'error', `The foreign key ${written(key)} does not hold: ${error.message}`);
              return;
            }
            const seconds = ((Date.now() - startedAt) / 1000).toFixed(1);
            log(context, 'info', `Checked the foreign key ${written(key)} in ${seconds} s.`);
          });
        },
      };
    }),
  );
  await queue.idle();
  if (broken.length === 0) return;
  throw new PgsluiceError({
    code: 'FOREIGN_KEY_VIOLATED',
    message: `${broken.length} foreign ${broken.length === 1 ? 'key does' : 'keys do'} not hold on the target: ${broken.slice(0, 10).join('; ')}`,
    hint: 'They stand NOT VALID: new rows are checked. Correct the rows, then run ALTER TABLE … VALIDATE CONSTRAINT … on the target.',
  });
}
