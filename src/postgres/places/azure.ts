import type { Place } from './types.ts';

const logical = {
  title: 'Azure Database for PostgreSQL: Logical replication and logical decoding',
  date: '2026-11-21',
};
const extensions = {
  title: 'Azure Database for PostgreSQL: PostgreSQL extensions (azure.extensions)',
  date: '2026-11-21',
};
const servers = { title: 'Azure Database for PostgreSQL: Server concepts', date: '2026-11-21' };

export const azure: Place = {
  id: 'azure',
  name: 'Azure Database for PostgreSQL',
  hosts: [/\.postgres\.database\.azure\.com$/i],
  settings: ['azure.'],
  roles: ['azure_pg_admin'],
  adminRole: { says: 'azure_pg_admin', from: servers },
  limits: [{ says: 'extensions can be created only when the parameter azure.extensions lists them', from: extensions }],
  restarts: { says: 'a change of wal_level takes effect at a restart of the server', from: logical },
  words: {
    'wal-level': { says: 'Set the server parameter wal_level to LOGICAL, save, and restart the server', from: logical },
    'replication-right': { says: 'ALTER ROLE {role} WITH REPLICATION; -- as the admin user', from: logical },
    'max-slots': {
      says: 'Raise the server parameters max_replication_slots and max_wal_senders, save, and restart the server',
      from: logical,
    },
    'create-extension': {
      says: 'Add {extension} to the server parameter azure.extensions: az postgres flexible-server parameter set --resource-group GROUP --server-name SERVER --name azure.extensions --value {extension}',
      from: extensions,
    },
    allowlist: { says: "Allow this machine's address in a firewall rule of the server (Networking)", from: servers },
  },
};
