import type { Place } from './types.ts';

const limits = { title: 'DigitalOcean: PostgreSQL Limits', date: '2026-11-21' };
const sources = { title: 'DigitalOcean: PostgreSQL Best Practices (trusted sources)', date: '2026-11-21' };
const pools = {
  title: 'DigitalOcean: database_connection_pool (modes session, transaction, statement)',
  date: '2026-04-03',
};

export const digitalocean: Place = {
  id: 'digitalocean',
  name: 'DigitalOcean Managed Databases',
  hosts: [/\.db\.ondigitalocean\.com$/i],
  settings: [],
  roles: ['doadmin'],
  adminRole: { says: 'doadmin', from: limits },
  limits: [{ says: 'up to 100 addresses are let in as trusted sources, none of them IPv6', from: limits }],
  words: {
    allowlist: {
      says: "Add this machine's IPv4 address under Settings > Trusted Sources of the cluster",
      from: sources,
    },
    pooler: {
      says: "Use the cluster's own connection string, not one of a connection pool, whose mode is transaction by default",
      from: pools,
    },
  },
};
