import { validate } from '../checks/validate.ts';
import { createClone } from '../clone/clone.ts';
import { reportHtml } from '../verify/report.ts';
import { verifyDatabases } from '../verify/verify.ts';
import { liveRooms } from './default-live-rooms.ts';
import type { JobRooms } from './rooms.ts';

/** The rooms as they are; tests put others in their place. The API refuses foreign commands before a job is made. */
export const defaultRooms: JobRooms = { validate, createClone, verifyDatabases, reportHtml, live: liveRooms(true) };
