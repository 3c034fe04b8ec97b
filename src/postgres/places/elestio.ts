import type { Place } from './types.ts';

/** Its PostgreSQL is one's own server with its superuser: beyond the name nothing differs from plain PostgreSQL. */
export const elestio: Place = {
  id: 'elestio',
  name: 'Elestio',
  hosts: [/\.vm\.elestio\.app$/i],
  settings: [],
  roles: [],
  limits: [],
  words: {},
};
