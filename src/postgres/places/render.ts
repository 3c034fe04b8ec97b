import type { Place } from './types.ts';

const limits = { title: 'Render: Connection limits and pooling', date: '2026-11-21' };
const introduction = { title: 'Render: What Render Postgres is', date: '2026-11-21' };
const connecting = { title: 'Render: Connecting to Render Postgres (internal and external URL)', date: '2026-11-21' };

export const render: Place = {
  id: 'render',
  name: 'Render',
  hosts: [/-postgres\.render\.com$/i],
  settings: [],
  roles: [],
  limits: [
    { says: 'instances with less than 8 GB of memory allow 100 connections, larger ones 200 to 500', from: limits },
    { says: 'it has no pooler of its own', from: introduction },
    { says: 'its external address takes encrypted connections only', from: connecting },
  ],
  words: {
    allowlist: {
      says: "Add this machine's address to the database's access control (inbound IP rules); it concerns the external address only",
      from: connecting,
    },
    connections: {
      says: 'Stop services that hold connections, or choose an instance with more memory: the limit follows it (100 below 8 GB)',
      from: limits,
    },
  },
};
