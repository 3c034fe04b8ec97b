import type { Place } from './types.ts';

const logical = { title: 'Cloud SQL for PostgreSQL: Set up logical replication and decoding', date: '2026-11-21' };

export const cloudSql: Place = {
  id: 'cloud-sql',
  name: 'Google Cloud SQL',
  hosts: [/\.sql\.goog$/i],
  settings: ['cloudsql.'],
  roles: ['cloudsqlsuperuser'],
  adminRole: { says: 'cloudsqlsuperuser', from: logical },
  limits: [
    {
      says: 'nobody is a superuser; the user postgres is a member of cloudsqlsuperuser',
      from: { title: 'Cloud SQL for PostgreSQL: About PostgreSQL users and roles', date: '2026-11-21' },
    },
  ],
  restarts: { says: 'turning cloudsql.logical_decoding on restarts the instance', from: logical },
  words: {
    'wal-level': {
      says: 'Set the flag cloudsql.logical_decoding to on (Edit > Flags) and restart the instance',
      from: logical,
    },
    'replication-right': {
      says: 'ALTER USER {role} WITH REPLICATION; -- as a member of cloudsqlsuperuser',
      from: logical,
    },
    allowlist: {
      says: "Add this machine's address under Connections > Networking > Authorized networks",
      from: logical,
    },
  },
};
