import type { Check } from './check.ts';
import { excludedLiveCheck } from './extensions.ts';
import { liveConnections } from './live-connections.ts';
import { liveFenceChecks } from './live-fence.ts';
import { liveRightChecks } from './live-rights.ts';
import { liveServerChecks } from './live-server.ts';
import { notFollowed, replicaIdentity } from './live-tables.ts';
import { liveWalChecks } from './live-wal.ts';

/** Made only where a job is to follow its source, or would if it can (method.ts). */
export const liveChecks: readonly Check[] = [
  ...liveServerChecks,
  ...liveRightChecks,
  liveConnections,
  replicaIdentity,
  ...liveFenceChecks,
  ...liveWalChecks,
  notFollowed,
  excludedLiveCheck,
];
