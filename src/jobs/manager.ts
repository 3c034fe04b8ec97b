import type { CheckResult } from '../contract/check.ts';
import type { JobEvent, StreamMessage, TableProgress } from '../contract/event.ts';
import type { JobAction, JobView } from '../contract/job.ts';
import type { JobRequest } from '../contract/options.ts';
import type { Report } from '../contract/report.ts';
import { PgsluiceError } from '../errors.ts';
import type { LogQuery, ManagerConfig, ManagerMetrics } from './manager-types.ts';

export type { LogQuery, ManagerConfig, ManagerMetrics } from './manager-types.ts';

/** Skeleton: the signatures are final, the bodies follow. */
export class JobManager {
  static open(_config: ManagerConfig): Promise<JobManager> {
    return pending();
  }
  create(_request: JobRequest): Promise<JobView> {
    return pending();
  }
  list(): Promise<JobView[]> {
    return pending();
  }
  get(_id: string): Promise<JobView> {
    return pending();
  }
  act(_id: string, _action: JobAction): Promise<JobView> {
    return pending();
  }
  remove(_id: string): Promise<void> {
    return pending();
  }
  tables(_id: string): Promise<TableProgress[]> {
    return pending();
  }
  checks(_id: string): Promise<CheckResult[]> {
    return pending();
  }
  report(_id: string): Promise<Report> {
    return pending();
  }
  logs(_id: string, _query: LogQuery): Promise<JobEvent[]> {
    return pending();
  }
  async *stream(_id: string, _after: number, _signal: AbortSignal): AsyncGenerator<StreamMessage[]> {
    yield await pending<StreamMessage[]>();
  }
  waitUntilSettled(_id: string): Promise<JobView> {
    return pending();
  }
  metrics(): ManagerMetrics {
    throw new Error('not yet');
  }
  ready(): Promise<boolean> {
    return pending();
  }
  stop(_reason: string): Promise<void> {
    return pending();
  }
}

function pending<T>(): Promise<T> {
  return Promise.reject(
    new PgsluiceError({ code: 'INTERNAL', message: 'The job manager is being built.', hint: 'Wait for it.' }),
  );
}
