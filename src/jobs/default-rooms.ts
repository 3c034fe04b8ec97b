import { validate } from '../checks/validate.ts';
import { createClone } from '../clone/clone.ts';
import { reportHtml } from '../verify/report.ts';
import { verifyDatabases } from '../verify/verify.ts';
import type { JobRooms } from './rooms.ts';

/** The rooms as they are; tests put others in their place. */
export const defaultRooms: JobRooms = { validate, createClone, verifyDatabases, reportHtml };
