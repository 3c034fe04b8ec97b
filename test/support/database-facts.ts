import { readDatabaseFacts } from '../../src/postgres/database-facts.ts';
import { openSession } from '../../src/postgres/session.ts';
import { parseEndpoint } from '../../src/postgres/settings.ts';

/** What a database is made with and set to, in an order of its own. */
export async function databaseFactsOf(url: string): Promise<Record<string, unknown>> {
  const session = await openSession(parseEndpoint({ url }, 'source'), {
    signal: new AbortController().signal,
    side: 'source',
    purpose: 'test',
  });
  try {
    const facts = await readDatabaseFacts(session);
    return {
      ...facts,
      settings: facts.settings.toSorted(),
      grants: facts.grants?.map((one) => JSON.stringify(one)).toSorted(),
    };
  } finally {
    await session.close();
  }
}
