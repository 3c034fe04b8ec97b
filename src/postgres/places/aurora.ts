import { rds } from './rds.ts';
import type { Place } from './types.ts';

const logical = {
  title: 'Amazon Aurora User Guide: Setting up logical replication for your Aurora PostgreSQL DB cluster',
  date: '2026-11-21',
};

/** Told from RDS by its cluster endpoints; an instance endpoint of Aurora reads like one of RDS, which differs in words only. */
export const aurora: Place = {
  ...rds,
  id: 'aurora',
  name: 'Amazon Aurora',
  hosts: [/\.cluster-(ro-|custom-)?[a-z0-9]+\.[a-z0-9-]+\.rds\.amazonaws\.com(\.cn)?$/i],
  settings: [],
  roles: [],
  words: {
    ...rds.words,
    'wal-level': {
      says: 'Set rds.logical_replication = 1 in the custom DB cluster parameter group and reboot the writer',
      from: logical,
    },
    'max-slots': {
      says: 'Raise max_replication_slots and max_wal_senders in the custom DB cluster parameter group and reboot the writer',
      from: logical,
    },
  },
};
