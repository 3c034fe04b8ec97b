import { createRoute, z, type OpenAPIHono } from '@hono/zod-openapi';
import {
  AuditEntry,
  AuditQuery,
  NewShare,
  NewToken,
  ShareRequest,
  ShareView,
  TokenRequest,
  TokenView,
} from '../contract/access.ts';
import { Problem } from '../contract/job.ts';
import type { ApiManager } from './api-manager.ts';

const id = (name: string, description: string) => z.string().openapi({ param: { name, in: 'path' }, description });
const TokenId = z.object({ id: id('id', 'Id of the token, not the token itself.') });
const JobId = z.object({ id: id('id', 'Id of the job.') });
const ShareId = JobId.extend({ share: id('share', 'Id of the share.') });

const json = <T extends z.ZodType>(schema: T, description: string) => ({
  content: { 'application/json': { schema } },
  description,
});
const problemResponse = {
  content: { 'application/problem+json': { schema: Problem } },
  description: 'What is wrong, and what to do.',
};
const problems = { '4XX': problemResponse, '5XX': problemResponse };
const security = [{ bearer: [] }];

export interface AccessRoutes {
  readonly manager: Pick<ApiManager, 'access'>;
  /** Ends the sockets of a token or share that was revoked. */
  readonly ended: (id: string) => void;
}

/** Tokens, shares and the log of who did what. */
export function addAccessRoutes(app: OpenAPIHono, { manager, ended }: AccessRoutes): void {
  const { access } = manager;
  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/tokens',
      operationId: 'listTokens',
      summary: 'All tokens, the newest first, without the tokens themselves (admin)',
      security,
      responses: { 200: json(z.object({ tokens: z.array(TokenView) }), 'The tokens.'), ...problems },
    }),
    async (c) => c.json({ tokens: await access.tokens() }, 200),
  );
  app.openapi(
    createRoute({
      method: 'post',
      path: '/api/tokens',
      operationId: 'createToken',
      summary: 'Create a token; it is shown in this answer and never again (admin)',
      security,
      request: { body: { required: true, content: { 'application/json': { schema: TokenRequest } } } },
      responses: { 201: json(NewToken, 'The new token.'), ...problems },
    }),
    async (c) => {
      const token = await access.createToken(c.req.valid('json'));
      return c.json(token, 201, { location: `/api/tokens/${token.id}` });
    },
  );
  app.openapi(
    createRoute({
      method: 'delete',
      path: '/api/tokens/{id}',
      operationId: 'revokeToken',
      summary: 'Revoke a token; whoever follows a job with it is cut off (admin)',
      security,
      request: { params: TokenId },
      responses: { 200: json(TokenView, 'The token, revoked.'), ...problems },
    }),
    async (c) => {
      const token = await access.revokeToken(c.req.valid('param').id);
      ended(token.id);
      return c.json(token, 200);
    },
  );
  addShares(app, { manager, ended });
  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/audit',
      operationId: 'readAudit',
      summary: 'Who did what, the newest first (admin)',
      security,
      request: { query: AuditQuery },
      responses: { 200: json(z.object({ entries: z.array(AuditEntry) }), 'The entries.'), ...problems },
    }),
    async (c) => c.json({ entries: await access.audit(c.req.valid('query')) }, 200),
  );
}

function addShares(app: OpenAPIHono, { manager, ended }: AccessRoutes): void {
  const { access } = manager;
  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/jobs/{id}/shares',
      operationId: 'listShares',
      summary: 'Links that show this job, without their tokens',
      security,
      request: { params: JobId },
      responses: { 200: json(z.object({ shares: z.array(ShareView) }), 'The shares.'), ...problems },
    }),
    async (c) => c.json({ shares: await access.shares(c.req.valid('param').id) }, 200),
  );
  app.openapi(
    createRoute({
      method: 'post',
      path: '/api/jobs/{id}/shares',
      operationId: 'shareJob',
      summary: 'Create a link that shows this job, read-only, and nothing else',
      description:
        'It ends an hour after the job is completed or cancelled, with the job, when it expires, or when it is revoked.',
      security,
      request: { params: JobId, body: { required: true, content: { 'application/json': { schema: ShareRequest } } } },
      responses: { 201: json(NewShare, 'The new share.'), ...problems },
    }),
    async (c) => {
      const { id: job } = c.req.valid('param');
      const share = await access.share(job, c.req.valid('json'), c.get('caller').name);
      return c.json(share, 201, { location: `/api/jobs/${encodeURIComponent(job)}/shares/${share.id}` });
    },
  );
  app.openapi(
    createRoute({
      method: 'delete',
      path: '/api/jobs/{id}/shares/{share}',
      operationId: 'revokeShare',
      summary: 'Revoke a link; whoever follows by it is cut off',
      security,
      request: { params: ShareId },
      responses: { 200: json(ShareView, 'The share, revoked.'), ...problems },
    }),
    async (c) => {
      const { id: job, share } = c.req.valid('param');
      const revoked = await access.revokeShare(job, share);
      ended(revoked.id);
      return c.json(revoked, 200);
    },
  );
}
