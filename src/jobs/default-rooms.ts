import { readDisk } from '../checks/disk.ts';
import { validate } from '../checks/validate.ts';
import { createClone } from '../clone/clone.ts';
import { takeMoment } from '../clone/source-moment.ts';
import { createTargetDatabase, finishTargetDatabase, readSourceDatabase } from '../clone/target-database.ts';
import { reportHtml } from '../verify/report.ts';
import { verifyDatabases } from '../verify/verify.ts';
import { archiveRooms } from './archive-rooms.ts';
import { liveRooms } from './default-live-rooms.ts';
import { readApplicationsOf } from './read-applications.ts';
import type { JobRooms } from './rooms.ts';

/** The rooms as they are; tests put others in their place. `allowCommands`: whoever started this agent lets its jobs run programs. */
export function defaultRooms(allowCommands: boolean): JobRooms {
  return {
    validate,
    createClone,
    takeMoment,
    verifyDatabases,
    readApplications: readApplicationsOf,
    readDisk,
    reportHtml,
    live: liveRooms(allowCommands),
    archives: archiveRooms,
    targetDatabase: { read: readSourceDatabase, create: createTargetDatabase, finish: finishTargetDatabase },
  };
}
