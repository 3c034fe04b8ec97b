import { createRoute, z, type OpenAPIHono } from '@hono/zod-openapi';
import { CheckResult } from '../contract/check.ts';
import { Problem } from '../contract/job.ts';
import { StorableText } from '../contract/options.ts';
import { checkFormats, checksAsCsv, checksAsMarkdown } from '../jobs/checks-as-text.ts';
import type { ApiManager } from './api-manager.ts';

const Side = CheckResult.shape.side;
const JobId = z.object({
  id: z.string().openapi({ param: { name: 'id', in: 'path' }, description: 'Id of the job.' }),
});
const CheckPath = JobId.extend({
  check: z.string().openapi({
    param: { name: 'check', in: 'path' },
    description: 'Id of the check.',
    example: 'server.locale',
  }),
});
const SideQuery = z.object({
  side: Side.optional().openapi({ description: 'Where the check was made; needed only to tell two apart.' }),
});
const AcceptBody = z
  .strictObject({
    side: Side.optional(),
    by: StorableText.trim().min(1).max(200).openapi({ description: 'Who accepts; shown to everybody.' }),
    note: StorableText.trim().max(2_000).default('').openapi({ description: 'Why.' }),
  })
  .openapi('AcceptCheck');

const problemResponse = {
  content: { 'application/problem+json': { schema: Problem } },
  description: 'What is wrong, and what to do.',
};
const problems = { '4XX': problemResponse, '5XX': problemResponse };
const security = [{ bearer: [] }];
const oneCheck = (description: string) => ({
  200: { content: { 'application/json': { schema: CheckResult } }, description },
  ...problems,
});

/** Checks of a job: listed, exported, made again one by one, accepted. Parses, calls the job manager, answers. */
export function addCheckRoutes(app: OpenAPIHono, manager: ApiManager): void {
  addList(app, manager);

  app.openapi(
    createRoute({
      method: 'post',
      path: '/api/jobs/{id}/checks/{check}/run',
      operationId: 'runCheck',
      summary: 'Make one check again; the job itself stays as it is',
      security,
      request: { params: CheckPath, query: SideQuery },
      responses: oneCheck('What it found.'),
    }),
    async (c) => {
      const { id, check } = c.req.valid('param');
      return c.json(await manager.single.run(id, { check, side: c.req.valid('query').side }), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'post',
      path: '/api/jobs/{id}/checks/{check}/accept',
      operationId: 'acceptCheck',
      summary: 'Let a warning stand: it stays visible, with who accepted it and when',
      description: 'Holds over a new validation as long as the check finds the same.',
      security,
      request: {
        params: CheckPath,
        body: { required: true, content: { 'application/json': { schema: AcceptBody } } },
      },
      responses: oneCheck('The check, accepted.'),
    }),
    async (c) => {
      const { id, check } = c.req.valid('param');
      const { side, by, note } = c.req.valid('json');
      return c.json(await manager.single.accept(id, { check, side }, { by, note }), 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'delete',
      path: '/api/jobs/{id}/checks/{check}/accept',
      operationId: 'unacceptCheck',
      summary: 'Take an acceptance back',
      security,
      request: { params: CheckPath, query: SideQuery },
      responses: oneCheck('The check, not accepted.'),
    }),
    async (c) => {
      const { id, check } = c.req.valid('param');
      return c.json(await manager.single.unaccept(id, { check, side: c.req.valid('query').side }), 200);
    },
  );
}

function addList(app: OpenAPIHono, manager: ApiManager): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/jobs/{id}/checks',
      operationId: 'listChecks',
      summary: 'What the last validation found, as JSON, CSV or Markdown',
      security,
      request: { params: JobId, query: z.object({ format: z.enum(checkFormats).optional() }) },
      responses: {
        200: {
          content: {
            'application/json': { schema: z.object({ checks: z.array(CheckResult) }) },
            'text/csv': { schema: z.string() },
            'text/markdown': { schema: z.string() },
          },
          description: 'The checks.',
        },
        ...problems,
      },
    }),
    async (c) => {
      const { id } = c.req.valid('param');
      const { format = 'json' } = c.req.valid('query');
      const checks = await manager.checks(id);
      if (format === 'json') return c.json({ checks }, 200);
      const text = format === 'csv' ? checksAsCsv(checks) : checksAsMarkdown(checks, `Checks of job ${id}`);
      return c.body(text, 200, {
        'content-type': `text/${format === 'csv' ? 'csv' : 'markdown'}; charset=utf-8`,
        'content-disposition': `attachment; filename="pgsluice-${id.replace(/[^\w-]/g, '')}-checks.${format}"`,
      });
    },
  );
}
