import type { JobActivity } from '../contract/activity.ts';
import type { CheckResult } from '../contract/check.ts';
import type { JobEvent, StreamMessage, TableProgress } from '../contract/event.ts';
import type { GroupAction, GroupActionResult, GroupRequestInput, GroupView } from '../contract/group.ts';
import type { JobAction, JobView } from '../contract/job.ts';
import type { JobRequestInput } from '../contract/options.ts';
import type { Report } from '../contract/report.ts';
import type { AcceptanceInput } from '../jobs/checks-of-job.ts';
import type { LogQuery } from '../jobs/manager.ts';
import type { AccessClient } from './access-client.ts';

/** Jobs of this machine's state, or of a running daemon: commands do not need to know which. */
export interface JobClient {
  /** `local`: jobs run in this process and end with it. */
  readonly kind: 'local' | 'remote';
  /** For people: the state directory, or the daemon's address. */
  readonly where: string;
  /** Tokens, links to jobs, who did what. */
  readonly access: AccessClient;
  create(request: JobRequestInput): Promise<JobView>;
  /** The newest first. */
  list(query?: { readonly limit?: number; readonly idPrefix?: string }): Promise<JobView[]>;
  get(id: string): Promise<JobView>;
  act(id: string, action: JobAction): Promise<JobView>;
  remove(id: string): Promise<void>;
  createGroup(request: GroupRequestInput): Promise<GroupView>;
  group(id: string): Promise<GroupView>;
  actOnGroup(id: string, action: GroupAction): Promise<GroupActionResult>;
  removeGroup(id: string): Promise<void>;
  tables(id: string): Promise<TableProgress[]>;
  activity(id: string): Promise<JobActivity>;
  checks(id: string): Promise<CheckResult[]>;
  /** Makes one check again. */
  runCheck(id: string, check: string): Promise<CheckResult>;
  acceptCheck(id: string, check: string, acceptance: AcceptanceInput): Promise<CheckResult>;
  unacceptCheck(id: string, check: string): Promise<CheckResult>;
  report(id: string): Promise<Report>;
  reportHtml(id: string): Promise<string>;
  logs(id: string, query: LogQuery): Promise<JobEvent[]>;
  /** Everything after `after`, then live, until the signal fires or the job is gone. */
  stream(id: string, after: number, signal: AbortSignal): AsyncGenerator<readonly StreamMessage[]>;
  /** Local: stops what runs, leaving it resumable, and frees the state. Remote: lets go. Idempotent. */
  close(reason: string): Promise<void>;
}
