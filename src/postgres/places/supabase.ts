import type { Place } from './types.ts';

const connect = { title: 'Supabase: Connect to your database', date: '2026-11-21' };
const replication = { title: 'Supabase: Replicating to an external database', date: '2024-03-25' };

export const supabase: Place = {
  id: 'supabase',
  name: 'Supabase',
  hosts: [/\.supabase\.(co|com)$/i],
  settings: ['supautils.'],
  roles: ['supabase_admin'],
  adminRole: { says: 'postgres', from: replication },
  limits: [
    {
      says: 'direct connections use IPv6 unless the IPv4 add-on is bought; the session pooler has IPv4',
      from: connect,
    },
  ],
  transactionPooler: { port: 6543, from: connect },
  words: {
    pooler: {
      says: 'Use the direct connection (db.PROJECT.supabase.co, port 5432) or the session pooler (*.pooler.supabase.com, port 5432), not port 6543; both are under Connect in the dashboard',
      from: connect,
    },
    'replication-right': { says: 'ALTER ROLE {role} REPLICATION; -- as postgres', from: replication },
  },
};
