import { validate } from '../checks/validate.ts';
import { createClone } from '../clone/clone.ts';
import { verifyDatabases } from '../verify/verify.ts';
import type { JobRooms } from './rooms.ts';

/** The rooms as they are; tests put others in their place. The printable page is loaded when somebody asks for it. */
export const defaultRooms: JobRooms = {
  validate,
  createClone,
  verifyDatabases,
  reportHtml: async (report) => (await import('../verify/report.ts')).reportHtml(report),
};
