import { userInfo } from 'node:os';
import type {
  AuditEntry,
  AuditQuery,
  NewShare,
  NewToken,
  ShareRequest,
  ShareView,
  TokenRequest,
  TokenView,
} from '../contract/access.ts';
import { asReport } from '../jobs/as-report.ts';
import type { Access } from '../jobs/access.ts';

/** Tokens, links to jobs, and the log of who did what: of this machine's state, or of a running daemon. */
export interface AccessClient {
  createToken(request: TokenRequest): Promise<NewToken>;
  tokens(): Promise<TokenView[]>;
  revokeToken(id: string): Promise<TokenView>;
  share(job: string, request: ShareRequest): Promise<NewShare>;
  shares(job: string): Promise<ShareView[]>;
  revokeShare(job: string, id: string): Promise<ShareView>;
  audit(query: AuditQuery): Promise<AuditEntry[]>;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A container may run under a number that no password file knows.
    return `user ${process.getuid?.() ?? ''}`.trim();
  }
}

/** Does something to the state itself, and writes down that the user of this machine did; `subject` null: it is new. */
export async function recorded<T>(
  access: Pick<Access, 'record'>,
  action: string,
  subject: string | null,
  work: () => Promise<T>,
): Promise<T> {
  const entry = { actor: 'cli', actorName: userName(), address: '', action };
  try {
    const result = await work();
    const id: unknown = typeof result === 'object' && result !== null ? Reflect.get(result, 'id') : null;
    await access.record({
      ...entry,
      subject: subject ?? (typeof id === 'string' ? id : null),
      status: 200,
      code: null,
    });
    return result;
  } catch (error) {
    await access.record({ ...entry, subject, status: 422, code: asReport(error).code });
    throw error;
  }
}

/** Of the state that this process holds. */
export function localAccess(access: Access): AccessClient {
  return {
    createToken: (request) => recorded(access, 'token.create', null, () => access.createToken(request)),
    tokens: () => access.tokens(),
    revokeToken: (id) => recorded(access, 'token.revoke', id, () => access.revokeToken(id)),
    share: (job, request) => recorded(access, 'share.create', job, () => access.share(job, request, userName())),
    shares: (job) => access.shares(job),
    revokeShare: (job, id) => recorded(access, 'share.revoke', `${job}/${id}`, () => access.revokeShare(job, id)),
    audit: (query) => access.audit(query),
  };
}

/** JSON of the daemon's API. */
export type Ask = <T>(method: string, path: string, body?: unknown) => Promise<T>;

export function remoteAccess(ask: Ask): AccessClient {
  const of = (job: string): string => `/api/jobs/${encodeURIComponent(job)}/shares`;
  return {
    createToken: (request) => ask('POST', '/api/tokens', request),
    tokens: async () => (await ask<{ tokens: TokenView[] }>('GET', '/api/tokens')).tokens,
    revokeToken: (id) => ask('DELETE', `/api/tokens/${encodeURIComponent(id)}`),
    share: (job, request) => ask('POST', of(job), request),
    shares: async (job) => (await ask<{ shares: ShareView[] }>('GET', of(job))).shares,
    revokeShare: (job, id) => ask('DELETE', `${of(job)}/${encodeURIComponent(id)}`),
    audit: async (query) => {
      const params = new URLSearchParams();
      for (const [name, value] of Object.entries(query)) params.set(name, String(value));
      return (await ask<{ entries: AuditEntry[] }>('GET', `/api/audit?${params.toString()}`)).entries;
    },
  };
}
