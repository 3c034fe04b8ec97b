import type { Place } from './types.ts';

const credentials = { title: 'Heroku Dev Center: Heroku Postgres Credentials', date: '2026-05-18' };
const roadmap = { title: 'Heroku roadmap, issue 38: Support logical replication', date: '2026-11-21' };

/** Its host names are those of the machines it runs on, so it is told by its own role. */
export const heroku: Place = {
  id: 'heroku',
  name: 'Heroku Postgres',
  hosts: [],
  settings: [],
  roles: ['heroku_admin'],
  adminRole: { says: 'the default credential, one step below a superuser', from: credentials },
  limits: [
    {
      says: 'logical replication to the outside is not offered (the request for it is open): use --method copy',
      from: roadmap,
    },
    { says: 'on Essential plans the only credential is the owner, which can create no other', from: credentials },
  ],
  words: {
    'wal-level': {
      says: 'Heroku Postgres offers no logical replication to the outside: use --method copy',
      from: roadmap,
    },
    'replication-right': {
      says: 'Heroku Postgres offers no logical replication to the outside: use --method copy',
      from: roadmap,
    },
    superuser: {
      says: 'Nobody is a superuser on Heroku Postgres: leave out what its default credential may not create',
      from: credentials,
    },
  },
};
