import type { Application } from './report.ts';

/** A word of a shell's command line, quoted where it has to be (POSIX shell, 2.2.2). */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** What loads an archive into a server, to be typed on the machine where the archive is. */
export function importCommand(archive: string): string {
  return `pgsluice import ${shellWord(archive)} --target 'postgres://user:password@host:5432/database'`;
}

/** One application in one sentence: how far its migrations are, and whether the target says the same. Pure. */
export function applicationSentence(found: Application): string {
  const { framework, version, migrations, table, sameOnTarget, unfinished } = found;
  const at = version === null ? 'with no migration yet' : `at ${version}`;
  const count = `${migrations.toLocaleString('en-US')} ${migrations === 1 ? 'migration' : 'migrations'}`;
  const same = sameOnTarget === null ? '' : sameOnTarget ? '; the target says the same' : '; the target says otherwise';
  const open = unfinished.length === 0 ? '' : ` Not finished on the source: ${unfinished.join(', ')}.`;
  return `${framework} ${at} (${count}, ${table})${same}.${open}`;
}
