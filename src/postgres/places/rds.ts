import type { Place } from './types.ts';

const logical = {
  title: 'AWS re:Post: How do I replicate tables in RDS for PostgreSQL using logical replication?',
  date: '2026-11-21',
};
const cdc = {
  title: 'Amazon RDS for PostgreSQL as a source for change data capture (rds_replication)',
  date: '2026-11-21',
};
const guide = { title: 'Amazon RDS User Guide: Understanding the rds_superuser role', date: '2026-11-21' };

export const rds: Place = {
  id: 'rds',
  name: 'Amazon RDS',
  hosts: [/\.rds\.amazonaws\.com(\.cn)?$/i],
  settings: ['rds.'],
  roles: ['rds_superuser', 'rds_replication'],
  adminRole: { says: 'rds_superuser', from: guide },
  limits: [{ says: 'nobody is a superuser; the master user is a member of rds_superuser', from: guide }],
  restarts: { says: 'rds.logical_replication takes effect at a reboot of the instance', from: logical },
  words: {
    'wal-level': {
      says: 'Set rds.logical_replication = 1 in the custom parameter group of the instance and reboot it',
      from: logical,
    },
    'replication-right': { says: 'GRANT rds_replication TO {role}; -- as the master user', from: cdc },
    'max-slots': {
      says: 'Raise max_replication_slots and max_wal_senders in the custom parameter group of the instance and reboot it',
      from: cdc,
    },
    allowlist: {
      says: "Allow this machine's address in an inbound rule of the instance's VPC security group",
      from: { title: 'Amazon RDS User Guide: Controlling access with security groups', date: '2026-11-21' },
    },
    superuser: {
      says: 'Nobody is a superuser on RDS: log in as the master user (a member of rds_superuser), and leave out what it may not create',
      from: guide,
    },
  },
};
