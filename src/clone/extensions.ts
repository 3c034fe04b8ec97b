import type { ArchiveEntry } from '../postgres/archive.ts';
import { planExtensions, readOffered } from '../postgres/extensions.ts';
import type { ExtensionPlan, InstalledExtension } from '../postgres/extensions.ts';
import { qualified, quoteIdent, quoteLiteral } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import type { SourceTable } from './catalogue.ts';
import type { TargetContext } from './context.ts';
import { log } from './context.ts';

/** What becomes of the source's extensions on this target; told to the log where it is not what the source has. */
export async function planOnTarget(
  context: TargetContext,
  target: Session,
  source: readonly InstalledExtension[],
): Promise<ExtensionPlan[]> {
  if (context.options.dataOnly) return [];
  const offered = await readOffered(
    target,
    source.map(({ name }) => name),
  );
  const plans = planExtensions(source, offered, context.options.extensionVersion);
  for (const { note } of plans) if (note !== '') log(context, 'warn', note);
  return plans;
}

/**
 * pg_dump leaves the version of an extension to the target's default: here the entry asks for the planned one. The archive that
 * verification compares stays as it is. Pure.
 */
export function pinVersions(entries: readonly ArchiveEntry[], plans: readonly ExtensionPlan[]): ArchiveEntry[] {
  const versions = new Map(plans.map(({ name, version }) => [name, version]));
  return entries.map((entry) => {
    const version = entry.type === 'EXTENSION' ? (versions.get(entry.name) ?? null) : null;
    if (version === null) return entry;
    const statements = entry.statements.map((statement) =>
      statement.startsWith('CREATE EXTENSION ')
        ? statement.replace(/;$/, ` VERSION ${quoteLiteral(version)};`)
        : statement,
    );
    return { ...entry, statements };
  });
}

/**
 * Brings the planned extensions to the target's newest version, after their configuration: its update scripts may carry that
 * over as well. One that is refused stays as it is, which loses nothing. @returns what is left for a person to do.
 */
export async function updateExtensions(
  context: TargetContext,
  target: Session,
  plans: readonly ExtensionPlan[],
): Promise<string[]> {
  const todo: string[] = [];
  for (const { name } of plans.filter((plan) => plan.update)) {
    const statement = `ALTER EXTENSION ${quoteIdent(name)} UPDATE`;
    try {
      await target.run(statement);
      const [row] = await target.query<{ version: string }>(
        `SELECT extversion AS version FROM pg_extension WHERE extname = ${quoteLiteral(name)}`,
      );
      log(context, 'info', `Extension ${name} is updated to ${row?.version ?? 'its newest version'}.`);
    } catch (error) {
      if (context.signal.aborted || target.lost) throw error;
      const why = error instanceof Error ? error.message : String(error);
      log(context, 'warn', `Extension ${name} could not be updated: ${why}`);
      todo.push(`Update the extension ${name} on the target: ${statement}; (${why})`);
    }
  }
  return todo;
}

/**
 * Takes users' rows out of configuration tables that outlast the dropping of everything else, since their extension stays: what
 * an earlier attempt of the job put there would stand twice.
 */
export async function emptyConfiguration(target: Session, tables: readonly SourceTable[]): Promise<void> {
  for (const table of tables) {
    if (table.extensionCondition === null) continue;
    const name = qualified(table.schema, table.name);
    const [there] = await target.query<{ there: boolean }>(
      `SELECT to_regclass(${quoteLiteral(name)}) IS NOT NULL AS there`,
    );
    if (there?.there === true) await target.run(emptyStatement(table));
  }
}

/** A table of the target; with a condition, only rows that meet it are the job's. */
export interface Emptied {
  readonly schema: string;
  readonly name: string;
  readonly extensionCondition?: string | null;
}

/** Empties a table of what a job would copy into it. Pure. */
export function emptyStatement(table: Emptied): string {
  const condition = table.extensionCondition ?? '';
  return `DELETE FROM ONLY ${qualified(table.schema, table.name)}${condition === '' ? '' : ` ${condition}`}`;
}
