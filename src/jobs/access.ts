import { createHash, randomBytes } from 'node:crypto';
import type {
  AuditEntry,
  AuditQuery,
  NewShare,
  NewToken,
  Role,
  ShareRequest,
  ShareView,
  TokenRequest,
  TokenView,
} from '../contract/access.ts';
import { PgsluiceError } from '../errors.ts';
import {
  type AuditRow,
  insertAudit,
  insertShare,
  insertToken,
  listShares,
  listTokens,
  type NewAuditRow,
  readAudit,
  revokeShare,
  revokeToken,
  type ShareRow,
  stillHolding,
  type TokenRow,
  useShare,
  useToken,
} from '../store/access-queries.ts';
import type { StateDatabase } from '../store/database.ts';
import { newId } from './new-job.ts';

const tokenPrefix = 'pgsluice_';
const sharePrefix = 'pgsluice-share_';
/** 32 random bytes in base64url. */
const random = /^[A-Za-z0-9_-]{43}$/;

/** Who bears a token. `share`: sees one job, and nothing else. */
export type Bearer =
  | { readonly kind: 'token'; readonly id: string; readonly name: string; readonly role: Role }
  | { readonly kind: 'share'; readonly id: string; readonly job: string };

export type AuditInput = NewAuditRow;

/**
 * What is stored of a token. One pass of SHA-256 is enough: the token is 256 random bits, so nobody comes to it by guessing, however
 * fast; slow hashes are for passwords, which people choose. It is looked up by this hash, so a comparison that takes longer for a better
 * guess would tell only of the hash, from which no token can be made.
 */
const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex');

/** Tokens that people make, links to one job, and the log of who did what. */
export class Access {
  readonly #db: StateDatabase;
  /** @throws PgsluiceError JOB_NOT_FOUND. */
  readonly #assertJob: (id: string) => Promise<unknown>;

  constructor(db: StateDatabase, assertJob: (id: string) => Promise<unknown>) {
    this.#db = db;
    this.#assertJob = assertJob;
  }

  /** Who bears this token; null where nobody does (any more). What cannot be a token never reaches the store. */
  async bearerOf(token: string): Promise<Bearer | null> {
    const shared = token.startsWith(sharePrefix);
    const prefix = shared ? sharePrefix : tokenPrefix;
    if (!token.startsWith(prefix) || !random.test(token.slice(prefix.length))) return null;
    if (!shared) {
      const row = await useToken(this.#db, hashOf(token));
      return row === null ? null : { kind: 'token', ...row };
    }
    const row = await useShare(this.#db, hashOf(token));
    return row === null ? null : { kind: 'share', id: row.id, job: row.jobId };
  }

  /** Of the ids of bearers those whose token still holds. */
  async stillHolding(ids: readonly string[]): Promise<ReadonlySet<string>> {
    return await stillHolding(this.#db, ids);
  }

  async createToken(request: TokenRequest): Promise<NewToken> {
    const token = tokenPrefix + randomBytes(32).toString('base64url');
    const { name, role, expiresIn } = request;
    const row = await insertToken(this.#db, { id: newId(), hash: hashOf(token), name, role, expiresIn });
    return { ...tokenView(row), token };
  }

  async tokens(): Promise<TokenView[]> {
    return (await listTokens(this.#db)).map(tokenView);
  }

  /** @throws PgsluiceError TOKEN_NOT_FOUND. */
  async revokeToken(id: string): Promise<TokenView> {
    const row = id.includes('\0') ? null : await revokeToken(this.#db, id);
    if (row !== null) return tokenView(row);
    throw new PgsluiceError({
      code: 'TOKEN_NOT_FOUND',
      message: 'There is no token of that id.',
      hint: 'List them with: pgsluice token list',
    });
  }

  /** @throws PgsluiceError JOB_NOT_FOUND. */
  async share(job: string, request: ShareRequest, createdBy: string): Promise<NewShare> {
    await this.#assertJob(job);
    const token = sharePrefix + randomBytes(32).toString('base64url');
    const { expiresIn } = request;
    const row = await insertShare(this.#db, { id: newId(), jobId: job, hash: hashOf(token), createdBy, expiresIn });
    return { ...shareView(row), token, path: `/#share=${token}&/jobs/${encodeURIComponent(job)}` };
  }

  /** @throws PgsluiceError JOB_NOT_FOUND. */
  async shares(job: string): Promise<ShareView[]> {
    await this.#assertJob(job);
    return (await listShares(this.#db, job)).map(shareView);
  }

  /** @throws PgsluiceError JOB_NOT_FOUND, SHARE_NOT_FOUND. */
  async revokeShare(job: string, id: string): Promise<ShareView> {
    await this.#assertJob(job);
    const row = id.includes('\0') ? null : await revokeShare(this.#db, job, id);
    if (row !== null) return shareView(row);
    throw new PgsluiceError({
      code: 'SHARE_NOT_FOUND',
      message: 'This job has no share of that id.',
      hint: 'List them with: pgsluice share JOB --list',
    });
  }

  async record(entry: AuditInput): Promise<void> {
    await insertAudit(this.#db, entry);
  }

  /** Newest first. */
  async audit({ before, limit }: AuditQuery): Promise<AuditEntry[]> {
    return (await readAudit(this.#db, { before: before ?? null, limit: limit ?? 100 })).map(auditView);
  }
}

const iso = (at: Date | null): string | null => at?.toISOString() ?? null;

function tokenView({ id, name, role, createdAt, lastUsedAt, expiresAt, revokedAt }: TokenRow): TokenView {
  return {
    id,
    name,
    role,
    createdAt: createdAt.toISOString(),
    lastUsedAt: iso(lastUsedAt),
    expiresAt: iso(expiresAt),
    revokedAt: iso(revokedAt),
  };
}

function shareView({ id, jobId, createdBy, createdAt, lastUsedAt, expiresAt, revokedAt }: ShareRow): ShareView {
  return {
    id,
    job: jobId,
    createdBy,
    createdAt: createdAt.toISOString(),
    lastUsedAt: iso(lastUsedAt),
    expiresAt: expiresAt.toISOString(),
    revokedAt: iso(revokedAt),
  };
}

const auditView = ({ at, ...entry }: AuditRow): AuditEntry => ({ ...entry, at: at.toISOString() });
