import type { Role } from '../contract/access.ts';
import { GroupAction } from '../contract/group.ts';
import { JobAction } from '../contract/job.ts';

/** The least that a route asks for; `share`: a link to the very job is enough. */
export type Needed = 'share' | Role;

export interface Permission {
  readonly method: string;
  /** As in /openapi.json. */
  readonly path: string;
  readonly needs: Needed;
  /** Its name in the audit log; null for what only reads. */
  readonly action: string | null;
}

type Row = readonly [method: string, path: string, needs: Needed, action?: string];

const rows: readonly Row[] = [
  ['GET', '/metrics', 'view'],
  ['GET', '/api/agent', 'share'],
  ['GET', '/api/jobs', 'view'],
  ['POST', '/api/jobs', 'operate', 'job.create'],
  ['GET', '/api/jobs/{id}', 'share'],
  ['DELETE', '/api/jobs/{id}', 'admin', 'job.delete'],
  ...JobAction.options.map((action): Row => ['POST', `/api/jobs/{id}/${action}`, 'operate', `job.${action}`]),
  ['GET', '/api/jobs/{id}/tables', 'share'],
  ['GET', '/api/jobs/{id}/checks', 'share'],
  ['GET', '/api/jobs/{id}/logs', 'share'],
  ['GET', '/api/jobs/{id}/events', 'share'],
  ['GET', '/api/jobs/{id}/report', 'view'],
  ['GET', '/api/jobs/{id}/activity', 'view'],
  ['POST', '/api/jobs/{id}/checks/{check}/run', 'operate', 'check.run'],
  ['POST', '/api/jobs/{id}/checks/{check}/accept', 'operate', 'check.accept'],
  ['DELETE', '/api/jobs/{id}/checks/{check}/accept', 'operate', 'check.unaccept'],
  ['GET', '/api/jobs/{id}/shares', 'operate'],
  ['POST', '/api/jobs/{id}/shares', 'operate', 'share.create'],
  ['DELETE', '/api/jobs/{id}/shares/{share}', 'operate', 'share.revoke'],
  ['GET', '/api/groups', 'view'],
  ['POST', '/api/groups', 'operate', 'group.create'],
  ['GET', '/api/groups/{id}', 'view'],
  ['DELETE', '/api/groups/{id}', 'admin', 'group.delete'],
  ...GroupAction.options.map((action): Row => ['POST', `/api/groups/{id}/${action}`, 'operate', `group.${action}`]),
  ['GET', '/api/tokens', 'admin'],
  ['POST', '/api/tokens', 'admin', 'token.create'],
  ['DELETE', '/api/tokens/{id}', 'admin', 'token.revoke'],
  ['GET', '/api/audit', 'admin'],
];

/** Who may do what: one row a route. */
export const permissions: readonly Permission[] = rows.map(([method, path, needs, action]) => ({
  method,
  path,
  needs,
  action: action ?? null,
}));

const patterns = permissions.map((permission) => ({
  permission,
  pattern: new RegExp(`^${permission.path.replace(/\{\w+\}/g, '([^/]+)')}$`),
}));

/** What a route without a row asks for: nobody but an admin comes through where a row was forgotten. */
const unlisted: Needed = 'admin';

export interface Asked {
  readonly needs: Needed;
  readonly action: string | null;
  /** The first id in the path, as it stands there; of a job for what a share may ask. */
  readonly id: string | null;
  /** All ids in the path. */
  readonly subject: string | null;
}

/** What a request asks for. A HEAD is a GET. Pure. */
export function asked(method: string, path: string): Asked {
  const verb = method === 'HEAD' ? 'GET' : method;
  for (const { permission, pattern } of patterns) {
    const match = permission.method === verb ? pattern.exec(path) : null;
    if (match !== null) {
      const [, ...ids] = match;
      const subject = ids.length === 0 ? null : ids.join('/').slice(0, 400);
      return { needs: permission.needs, action: permission.action, id: ids[0] ?? null, subject };
    }
  }
  return {
    needs: unlisted,
    action: verb === 'GET' || verb === 'OPTIONS' ? null : `${verb.toLowerCase()} ${path}`.slice(0, 200),
    id: null,
    subject: null,
  };
}

const order: readonly Needed[] = ['share', 'view', 'operate', 'admin'];

/** Whether a role is enough. A share is for one job; whether for this one is asked elsewhere. Pure. */
export const suffices = (role: Needed, needs: Needed): boolean => order.indexOf(role) >= order.indexOf(needs);
