import type { Place } from './types.ts';

const limitations = { title: 'Scalingo for PostgreSQL: Limitations', date: '2025-06-10' };
const accessing = { title: 'Scalingo: Accessing Your PostgreSQL Database', date: '2025-06-10' };
const plans = { title: 'Scalingo: Changing Plan of a PostgreSQL addon', date: '2025-12-23' };

export const scalingo: Place = {
  id: 'scalingo',
  name: 'Scalingo',
  hosts: [/\.scalingo\.com$/i, /\.scalingo-dbs\.com$/i],
  settings: [],
  roles: [],
  limits: [
    { says: 'an addon has one database', from: limitations },
    { says: 'its entry point ends connections on which the server is silent for 30 minutes', from: limitations },
    { says: 'a database is not reachable from the Internet until that is turned on', from: accessing },
  ],
  restarts: {
    says: 'changing the size of a Starter plan restarts the database, which is then away for 2 to 10 seconds',
    from: plans,
  },
  words: {
    allowlist: {
      says: 'In the database dashboard enforce TLS, then turn on Settings > Internet Access; or open a tunnel with: scalingo --app APP db-tunnel SCALINGO_POSTGRESQL_URL',
      from: accessing,
    },
    'create-database': {
      says: 'An addon holds one database: add another PostgreSQL addon to the app and use its URL',
      from: limitations,
    },
  },
};
