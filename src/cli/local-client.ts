import type { JobActivity } from '../contract/activity.ts';
import type { JobEvent, StreamMessage, TableProgress } from '../contract/event.ts';
import type { CheckResult } from '../contract/check.ts';
import {
  GroupRequest,
  type GroupAction,
  type GroupActionResult,
  type GroupRequestInput,
  type GroupView,
} from '../contract/group.ts';
import type { JobAction, JobView } from '../contract/job.ts';
import { JobRequest, type JobRequestInput } from '../contract/options.ts';
import type { Report } from '../contract/report.ts';
import type { AcceptanceInput } from '../jobs/checks-of-job.ts';
import { JobManager, type LogQuery, type ManagerConfig } from '../jobs/manager.ts';
import { type AccessClient, localAccess, recorded } from './access-client.ts';
import type { JobClient } from './client.ts';

/** A job manager in this process; `where` is the state's directory or URL. */
export class LocalClient implements JobClient {
  readonly kind = 'local';
  readonly where: string;
  readonly access: AccessClient;
  readonly #manager: JobManager;
  #closing: Promise<void> | null = null;

  private constructor(manager: JobManager, where: string) {
    this.#manager = manager;
    this.access = localAccess(manager.access);
    this.where = where;
  }

  /** Throws PgsluiceError STATE_DIRECTORY_HELD when another process works with the directory. */
  static async open(config: ManagerConfig): Promise<LocalClient> {
    return new LocalClient(await JobManager.open(config), config.state);
  }

  /** For a server of this process. */
  get manager(): JobManager {
    return this.#manager;
  }

  create(request: JobRequestInput): Promise<JobView> {
    return this.#recorded('job.create', null, () => this.#manager.create(JobRequest.parse(request)));
  }
  list(query?: { readonly limit?: number; readonly idPrefix?: string }): Promise<JobView[]> {
    return this.#manager.list(query);
  }
  get(id: string): Promise<JobView> {
    return this.#manager.get(id);
  }
  act(id: string, action: JobAction): Promise<JobView> {
    return this.#recorded(`job.${action}`, id, () => this.#manager.act(id, action));
  }
  remove(id: string): Promise<void> {
    return this.#recorded('job.delete', id, () => this.#manager.remove(id));
  }
  createGroup(request: GroupRequestInput): Promise<GroupView> {
    return this.#recorded('group.create', null, () => this.#manager.groups.create(GroupRequest.parse(request)));
  }
  group(id: string): Promise<GroupView> {
    return this.#manager.groups.get(id);
  }
  actOnGroup(id: string, action: GroupAction): Promise<GroupActionResult> {
    return this.#recorded(`group.${action}`, id, () => this.#manager.groups.act(id, action));
  }
  removeGroup(id: string): Promise<void> {
    return this.#recorded('group.delete', id, () => this.#manager.groups.remove(id));
  }
  tables(id: string): Promise<TableProgress[]> {
    return this.#manager.tables(id);
  }
  activity(id: string): Promise<JobActivity> {
    return this.#manager.activity(id);
  }
  checks(id: string): Promise<CheckResult[]> {
    return this.#manager.checks(id);
  }
  runCheck(id: string, check: string): Promise<CheckResult> {
    return this.#manager.single.run(id, { check });
  }
  acceptCheck(id: string, check: string, acceptance: AcceptanceInput): Promise<CheckResult> {
    return this.#recorded('check.accept', `${id}/${check}`, () =>
      this.#manager.single.accept(id, { check }, acceptance),
    );
  }
  unacceptCheck(id: string, check: string): Promise<CheckResult> {
    return this.#recorded('check.unaccept', `${id}/${check}`, () => this.#manager.single.unaccept(id, { check }));
  }
  report(id: string): Promise<Report> {
    return this.#manager.report(id);
  }
  async reportHtml(id: string): Promise<string> {
    return this.#manager.reportHtml(id);
  }
  logs(id: string, query: LogQuery): Promise<JobEvent[]> {
    return this.#manager.logs(id, query);
  }
  stream(id: string, after: number, signal: AbortSignal): AsyncGenerator<readonly StreamMessage[]> {
    return this.#manager.stream(id, after, signal);
  }
  #recorded<T>(action: string, subject: string | null, work: () => Promise<T>): Promise<T> {
    return recorded(this.#manager.access, action, subject, work);
  }

  close(reason: string): Promise<void> {
    this.#closing ??= this.#manager.stop(reason);
    return this.#closing;
  }
}
