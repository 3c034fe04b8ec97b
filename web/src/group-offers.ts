import type { JobState } from '../../src/contract/event.ts';
import type { GroupAction } from '../../src/contract/group.ts';
import type { JobView } from '../../src/contract/job.ts';

/** States in which a step of the whole group has a meaning for a member. */
const meaningIn: Readonly<Record<GroupAction, readonly JobState[]>> = {
  validate: ['draft', 'ready', 'blocked'],
  start: ['draft', 'ready'],
  pause: ['running', 'following'],
  resume: ['paused'],
  retry: ['failed', 'blocked'],
  cancel: ['draft', 'validating', 'ready', 'blocked', 'running', 'following', 'cutting_over', 'verifying', 'paused'],
};

export interface GroupOffer {
  readonly action: GroupAction;
  /** For how many members. */
  readonly count: number;
}

const order: readonly GroupAction[] = ['start', 'resume', 'retry', 'validate', 'pause', 'cancel'];

/** What can be done to the group now, the way forward first. While members are being checked nobody else is started. */
export function groupOffers(jobs: readonly Pick<JobView, 'state'>[]): GroupOffer[] {
  const checking = jobs.some(({ state }) => state === 'validating');
  return order
    .filter((action) => !checking || (action !== 'start' && action !== 'validate'))
    .map((action) => ({ action, count: jobs.filter(({ state }) => meaningIn[action].includes(state)).length }))
    .filter(({ count }) => count > 0);
}
