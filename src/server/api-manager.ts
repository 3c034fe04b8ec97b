import type { JobManager } from '../jobs/manager.ts';

/** What the API needs of the job manager. */
export type ApiManager = Pick<
  JobManager,
  | 'create'
  | 'list'
  | 'get'
  | 'act'
  | 'remove'
  | 'tables'
  | 'activity'
  | 'checks'
  | 'report'
  | 'logPage'
  | 'stream'
  | 'metrics'
  | 'ready'
> & {
  readonly groups: Pick<JobManager['groups'], 'create' | 'list' | 'get' | 'act' | 'remove'>;
  readonly access: Pick<
    JobManager['access'],
    | 'bearerOf'
    | 'stillHolding'
    | 'createToken'
    | 'tokens'
    | 'revokeToken'
    | 'share'
    | 'shares'
    | 'revokeShare'
    | 'record'
    | 'audit'
  >;
  readonly single: Pick<JobManager['single'], 'run' | 'accept' | 'unaccept'>;
  /** The report as one printable page. */
  reportHtml(id: string): string | Promise<string>;
};
