import type { Place } from './types.ts';

const free = { title: 'Gigalixir: Free Tier Databases', date: '2026-11-21' };
const standard = { title: 'Gigalixir: Standard Tier Databases', date: '2026-11-21' };

export const gigalixir: Place = {
  id: 'gigalixir',
  name: 'Gigalixir',
  hosts: [/\.gigalixir\.com$/i],
  settings: [],
  roles: [],
  limits: [
    { says: 'the free tier allows 2 connections and 10,000 rows and has no backups', from: free },
    { says: 'the free tier ends connections that are idle for 5 minutes', from: free },
    {
      says: 'an app has one database: the free one has to be destroyed before the standard one can be created, so export first and import then',
      from: free,
    },
  ],
  restarts: { says: 'scaling a standard database restarts it: it is away for a while', from: standard },
  words: {
    'create-database': {
      says: 'gigalixir pg:create --size=0.6 (standard tier; --free for the free one); one database an app, so the old one is first exported and then destroyed with gigalixir pg:destroy',
      from: standard,
    },
    connections: {
      says: 'The free tier allows 2 connections: stop the app while the job runs (gigalixir ps:scale --replicas=0), or scale a standard database up with gigalixir pg:scale',
      from: free,
    },
    'create-extension': {
      says: 'Extensions come with the standard tier: gigalixir pg:create --size=0.6',
      from: free,
    },
  },
};
