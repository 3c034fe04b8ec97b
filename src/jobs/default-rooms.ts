import { validate } from '../checks/validate.ts';
import { createClone } from '../clone/clone.ts';
import { reportHtml } from '../verify/report.ts';
import { verifyDatabases } from '../verify/verify.ts';
import { PgsluiceError } from '../errors.ts';
import type { LiveRooms } from './live-rooms-types.ts';
import type { JobRooms } from './rooms.ts';

const live = new Proxy({} as LiveRooms, {
  get: () => () => {
    throw new PgsluiceError({ code: 'NOT_BUILT', message: 'Live is not built yet.', hint: 'Use method copy.' });
  },
});

/** The rooms as they are; tests put others in their place. */
export const defaultRooms: JobRooms = { validate, createClone, verifyDatabases, reportHtml, live };
