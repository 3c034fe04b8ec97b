import type { Check } from './check.ts';
import { joinVerdicts } from './check.ts';
import { readFingerprint, sameServer } from './connect.ts';
import type { Database } from './database.ts';
import { judgeLiveConnections, LIVE_CONNECTIONS, readConnectionUse } from './headroom.ts';

/** A copy makes do with one connection; a fence that could not be raised for want of one would only show at the cutover. */
export const liveConnections: Check = {
  id: 'live.connections',
  severity: 'blocks',
  title: 'Both servers leave this role the connections that following and the cutover take.',
  needs: 'both',
  side: 'both',
  run: async (source, target, { slotsNeeded }) => {
    // Two databases of one server draw on the same connections.
    const shared = sameServer(await readFingerprint(source), await readFingerprint(target));
    // Each of the jobs that were made together comes to a cutover of its own, maybe at the same time.
    const onSource = LIVE_CONNECTIONS.source * slotsNeeded;
    const onTarget = LIVE_CONNECTIONS.target * slotsNeeded;
    const judge = async (database: Database, needed: number) =>
      judgeLiveConnections(await readConnectionUse(database), needed, {
        role: database.identity.role,
        database: database.identity.database,
      });
    return joinVerdicts([
      { label: 'Source', verdict: await judge(source, onSource + (shared ? onTarget : 0)) },
      { label: 'Target', verdict: await judge(target, onTarget + (shared ? onSource : 0)) },
    ]);
  },
};
