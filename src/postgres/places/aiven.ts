import type { Place } from './types.ts';

const tasks = { title: 'Aiven: Perform DBA-type tasks in Aiven for PostgreSQL', date: '2026-11-21' };

export const aiven: Place = {
  id: 'aiven',
  name: 'Aiven for PostgreSQL',
  hosts: [/\.aivencloud\.com$/i],
  settings: [],
  roles: ['avnadmin'],
  adminRole: { says: 'avnadmin', from: tasks },
  limits: [
    { says: 'nobody is a superuser; avnadmin creates databases, roles and extensions and may replicate', from: tasks },
  ],
  words: {
    'replication-right': {
      says: 'Log in as avnadmin, which may replicate, or let it grant that: ALTER ROLE {role} REPLICATION;',
      from: tasks,
    },
    'create-database': { says: 'CREATE DATABASE {database}; -- as avnadmin, or in the Aiven Console', from: tasks },
    superuser: {
      says: 'Nobody is a superuser on Aiven: avnadmin does some of it through CREATE EXTENSION aiven_extras CASCADE;',
      from: tasks,
    },
  },
};
