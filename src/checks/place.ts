import type { ConnectionSettings } from '../postgres/settings.ts';
import { placeName, placeOfHost, placeRoles, placeSettings, recognisePlace } from '../postgres/places/places.ts';
import type { Place } from '../postgres/places/types.ts';
import { informed, passed } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { perDatabase } from './database.ts';
import type { Database } from './database.ts';

/** Names that only some place's servers have. A superuser's own server may have roles of any name, brought by a move. */
const SIGNS = `
SELECT ARRAY(SELECT name::text FROM pg_settings WHERE EXISTS (SELECT FROM unnest($1::text[]) p WHERE left(name, length(p)) = p) LIMIT 100) AS settings,
  ARRAY(SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($2)
        AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)) AS roles`;

/** Where a server that was reached runs; asked once a validation. */
export const readPlace = perDatabase(async (database): Promise<Place> => {
  const { host, port } = database.settings;
  const signs = await database.one<{ settings: string[]; roles: string[] }>(SIGNS, [placeSettings, placeRoles]);
  return recognisePlace({ host, port, ...signs });
});

/** Name of the place of a side, reached or not, for the report; null where it is not known. */
export async function nameOfPlace(
  database: Database | null,
  settings: Pick<ConnectionSettings, 'host'>,
): Promise<string | null> {
  const usable = database !== null && database.session.usable;
  return placeName(usable ? await readPlace(database) : placeOfHost(settings.host));
}

export function judgePlace(place: Place): Verdict {
  const name = placeName(place);
  if (name === null) return passed("No provider was recognised; remedies are PostgreSQL's own.");
  const admin = place.adminRole === undefined ? [] : [`the most one can be there is ${place.adminRole.says}`];
  const limits = place.limits.map(({ says }) => says);
  const restarts = place.restarts === undefined ? [] : [place.restarts.says];
  const known = [...admin, ...limits, ...restarts];
  return informed(known.length === 0 ? `It runs on ${name}.` : `It runs on ${name}: ${known.join('; ')}.`);
}

export const placeCheck: Check = {
  id: 'connect.place',
  severity: 'informs',
  title: 'Where each server runs, and what is known of that place.',
  needs: 'each',
  run: async (database) => judgePlace(await readPlace(database)),
};
