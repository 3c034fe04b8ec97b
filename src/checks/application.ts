import type { JobOptions } from '../contract/options.ts';
import type { Applications } from '../postgres/applications/read-applications.ts';
import { readApplications } from '../postgres/applications/read-applications.ts';
import { applicationWords } from '../postgres/applications/words.ts';
import { informed, passed, skipped, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import type { Database } from './database.ts';
import { dataInScope } from './scope.ts';
import { count, listNames } from './words.ts';

export function judgeApplications({ found, more, unread }: Applications): Verdict {
  if (unread !== null) return skipped(`The migration tables could not be read: ${unread}`);
  if (found.length === 0) return passed('No migration table of a known framework is among the tables.');
  const words = `${found.map(applicationWords).join('; ')}${more > 0 ? `; and ${count(more, 'more migration table')}` : ''}.`;
  const unfinished = found.flatMap((app) => app.unfinished.map((name) => `${name} (${app.framework})`));
  if (unfinished.length === 0) return informed(words);
  return warned(
    `${words} ${count(unfinished.length, 'migration')} failed or did not end: ${listNames(unfinished)}. The target will stand as half-way as the source does.`,
    `Repair it on the source before the move (Prisma: prisma migrate resolve, Flyway: flyway repair, golang-migrate: migrate force), or after it on the target.`,
  );
}

/** Of the sources that were looked at; for the report, which has no use for a second reading. */
const known = new WeakMap<Database, Applications>();

/** What the check has found; null before it, and where it was not made. */
export const applicationsOf = (source: Database): Applications | null => known.get(source) ?? null;

async function read(source: Database, options: JobOptions): Promise<Applications> {
  const applications = await readApplications(source.session, (schema, name) => dataInScope(options, schema, name));
  known.set(source, applications);
  return applications;
}

export const applicationCheck: Check = {
  id: 'objects.application',
  severity: 'informs',
  title: 'Which application keeps its migrations here, and at which version it is.',
  needs: 'source',
  // It bounds its own reading by settings of a transaction.
  alone: true,
  run: async (source, { options }) => judgeApplications(await read(source, options)),
};
