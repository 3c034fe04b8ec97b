import type { Place } from './types.ts';

/** Any server that is not recognised: nothing is assumed of it, and every remedy stays PostgreSQL's own. */
export const plain: Place = {
  id: 'plain',
  name: 'PostgreSQL',
  hosts: [],
  settings: [],
  roles: [],
  limits: [],
  words: {},
};
