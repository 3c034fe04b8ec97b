import type { Place } from './types.ts';

const logical = { title: 'Neon: Logical replication in Neon', date: '2026-11-21' };
const allow = { title: 'Neon: Configure IP Allow', date: '2023-12-23' };
const pooling = { title: 'Neon: Connection pooling', date: '2026-11-21' };

export const neon: Place = {
  id: 'neon',
  name: 'Neon',
  hosts: [/\.neon\.tech$/i],
  settings: ['neon.'],
  roles: ['neon_superuser'],
  adminRole: { says: 'neon_superuser', from: logical },
  limits: [
    { says: 'it removes slots that nobody has used for a while when others are in use', from: logical },
    { says: 'a compute that nobody uses is suspended after 5 minutes; one that is followed is not', from: logical },
    { says: 'restoring a branch removes its slots', from: logical },
  ],
  transactionPooler: { host: /-pooler\./i, from: pooling },
  words: {
    'wal-level': {
      says: 'Turn logical replication on for the project: Settings > Logical Replication > Enable (it restarts the computes)',
      from: logical,
    },
    'replication-right': {
      says: 'Create the role in the Neon Console, CLI or API: it then belongs to neon_superuser and may replicate',
      from: logical,
    },
    pooler: { says: 'Use the direct connection string: the host without "-pooler"', from: pooling },
    allowlist: { says: "Add this machine's address under the project's Settings > IP Allow", from: allow },
  },
};
