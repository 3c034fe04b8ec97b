import { createRoute, z, type OpenAPIHono } from '@hono/zod-openapi';
import type { TypedResponse } from 'hono';
import { JobActivity } from '../contract/activity.ts';
import { JobEvent, LogLevel, ResetMessage, TableProgress } from '../contract/event.ts';
import { JobAction, JobView, Problem } from '../contract/job.ts';
import { JobRequest, StorableText } from '../contract/options.ts';
import { Report } from '../contract/report.ts';
import { assertCommandAllowed } from '../jobs/commands.ts';
import type { ApiManager } from './api-manager.ts';
import { addCheckRoutes } from './check-routes.ts';
import { logText } from './log-text.ts';
import { reportPolicy } from './static.ts';

const JobId = z.object({
  id: z.string().openapi({ param: { name: 'id', in: 'path' }, description: 'Id of the job.' }),
});

const LogFilter = z.object({
  after: z.coerce.number().int().nonnegative().optional().openapi({ description: 'Only events with a greater seq.' }),
  limit: z.coerce.number().int().min(1).max(10_000).optional().openapi({
    description: 'At most that many events, oldest first; 1,000 when left out. The text form has no limit.',
  }),
  level: LogLevel.optional().openapi({ description: 'This level and the graver ones.' }),
  search: StorableText.max(500).optional().openapi({ description: 'Text that the message holds, whatever its case.' }),
  format: z.enum(['json', 'text']).optional(),
});
const LogAnswer = z.object({
  events: z.array(JobEvent),
  next: z.number().nullable().openapi({
    description: 'Where to go on with `after`: a long log is looked through in pieces. Null at its end.',
  }),
});
const JobList = z.object({
  jobs: z.array(JobView),
  next: z.string().nullable().openapi({ description: 'Where to go on with `after`; null at the end.' }),
});
const ListQuery = z.object({
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(1_000)
    .optional()
    .openapi({ description: 'At most that many; 200 when left out.' }),
  after: StorableText.max(100)
    .optional()
    .openapi({ description: 'Only jobs behind the one with this id: the `next` of an answer.' }),
  prefix: StorableText.max(100).optional().openapi({ description: 'Only jobs whose id begins so.' }),
});
const defaultListLimit = 200;
const ReportForm = z.object({ format: z.enum(['json', 'html']).optional() });

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

const actionSummaries: Readonly<Record<JobAction, string>> = {
  validate: 'Run the checks; nothing is changed on either side',
  start: 'Start the migration of a job that is ready',
  pause: 'Stop after what is under way; finished tables stay',
  resume: 'Go on with a paused job',
  cancel: 'End the job; the log says in which state the target is',
  cutover: 'Hand over to the target (live jobs only)',
  retry: 'Run a failed job again; only the failed tables while its snapshot lives',
};

/** Everything under /api/jobs. Parses, calls the job manager, answers; decides nothing. */
export function addJobRoutes(app: OpenAPIHono, manager: ApiManager, allowCommands: boolean): void {
  app.openapi(
    createRoute({
      method: 'post',
      path: '/api/jobs',
      operationId: 'createJob',
      summary: 'Create a job',
      security,
      request: { body: { required: true, content: { 'application/json': { schema: JobRequest } } } },
      responses: { 201: json(JobView, 'The new job.'), ...problems },
    }),
    async (c) => {
      const request = c.req.valid('json');
      assertCommandAllowed(request.options, allowCommands);
      const job = await manager.create(request);
      return c.json(job, 201, { location: `/api/jobs/${encodeURIComponent(job.id)}` });
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/jobs',
      operationId: 'listJobs',
      summary: 'Jobs, the newest first',
      security,
      request: { query: ListQuery },
      responses: { 200: json(JobList, 'The jobs.'), ...problems },
    }),
    async (c) => {
      const { limit = defaultListLimit, after, prefix } = c.req.valid('query');
      const jobs = await manager.list({
        limit,
        ...(after === undefined ? {} : { after }),
        ...(prefix === undefined ? {} : { idPrefix: prefix }),
      });
      return c.json({ jobs, next: jobs.length < limit ? null : (jobs.at(-1)?.id ?? null) }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/jobs/{id}',
      operationId: 'getJob',
      summary: 'One job',
      security,
      request: { params: JobId },
      responses: { 200: json(JobView, 'The job.'), ...problems },
    }),
    async (c) => c.json(await manager.get(c.req.valid('param').id), 200),
  );

  app.openapi(
    createRoute({
      method: 'delete',
      path: '/api/jobs/{id}',
      operationId: 'deleteJob',
      summary:
        'Forget a job that does not run, with its log; what a live one has set up is taken off both servers first',
      security,
      request: { params: JobId },
      responses: { 204: { description: 'The job is forgotten.' }, ...problems },
    }),
    async (c) => {
      await manager.remove(c.req.valid('param').id);
      return c.body(null, 204);
    },
  );

  for (const action of JobAction.options) {
    app.openapi(
      createRoute({
        method: 'post',
        path: `/api/jobs/{id}/${action}`,
        operationId: `${action}Job`,
        summary: actionSummaries[action],
        security,
        request: { params: JobId },
        responses: { 200: json(JobView, 'The job after the step was accepted.'), ...problems },
      }),
      async (c) => c.json(await manager.act(c.req.valid('param').id, action), 200),
    );
  }

  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/jobs/{id}/tables',
      operationId: 'listTables',
      summary: 'Where each table stands',
      security,
      request: { params: JobId },
      responses: { 200: json(z.object({ tables: z.array(TableProgress) }), 'The tables.'), ...problems },
    }),
    async (c) => c.json({ tables: await manager.tables(c.req.valid('param').id) }, 200),
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/jobs/{id}/activity',
      operationId: 'watchSessions',
      summary: 'What the sessions of the job run now on both servers, and what they wait for',
      security,
      request: { params: JobId },
      responses: { 200: json(JobActivity, 'Asked of both servers at this moment.'), ...problems },
    }),
    async (c) => c.json(await manager.activity(c.req.valid('param').id), 200),
  );

  addCheckRoutes(app, manager);
  addLogRoute(app, manager);
  addReportRoute(app, manager);
  describeEvents(app);
}

function addLogRoute(app: OpenAPIHono, manager: ApiManager): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/jobs/{id}/logs',
      operationId: 'listLogs',
      summary: 'Log of the job, as JSON or as a text file',
      security,
      request: { params: JobId, query: LogFilter },
      responses: {
        200: {
          content: {
            'application/json': { schema: LogAnswer },
            'text/plain': { schema: z.string() },
          },
          description: 'Log events in their order.',
        },
        ...problems,
      },
    }),
    async (c) => {
      const { id } = c.req.valid('param');
      const { format, after, limit, level, search } = c.req.valid('query');
      const query = {
        ...(after === undefined ? {} : { after }),
        ...(limit === undefined ? {} : { limit }),
        ...(level === undefined ? {} : { level }),
        ...(search === undefined ? {} : { search }),
      };
      if (format !== 'text') return c.json(await manager.logPage(id, query), 200);
      await manager.get(id);
      return streamedText(
        logText((page) => manager.logPage(id, page), query),
        {
          'content-disposition': `attachment; filename="pgsluice-${id.replace(/[^\w-]/g, '')}.log"`,
          'cache-control': 'no-store',
        },
      );
    },
  );
}

/** hono types text answers by their string; a stream of the same text is as good. */
function streamedText(text: ReadableStream, headers: Record<string, string>): TypedResponse<string, 200, 'text'> {
  const response = new Response(text, { headers: { 'content-type': 'text/plain; charset=utf-8', ...headers } });
  return response as Response & TypedResponse<string, 200, 'text'>;
}

function addReportRoute(app: OpenAPIHono, manager: ApiManager): void {
  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/jobs/{id}/report',
      operationId: 'getReport',
      summary: 'What was moved, how long it took, what was checked, what differs, what is left to do',
      security,
      request: { params: JobId, query: ReportForm },
      responses: {
        200: {
          content: { 'application/json': { schema: Report }, 'text/html': { schema: z.string() } },
          description: 'The report; HTML with ?format=html or Accept: text/html.',
        },
        ...problems,
      },
    }),
    async (c) => {
      const { id } = c.req.valid('param');
      const { format } = c.req.valid('query');
      const html = format === 'html' || (format === undefined && prefersHtml(c.req.header('accept')));
      if (!html) return c.json(await manager.report(id), 200, { vary: 'accept' });
      return c.html(await manager.reportHtml(id), 200, { 'content-security-policy': reportPolicy, vary: 'accept' });
    },
  );
}

/** True when the client names text/html and does not name JSON before it. */
export function prefersHtml(accept: string | undefined): boolean {
  const named = (accept ?? '').split(',').map((part) => part.split(';')[0]?.trim().toLowerCase());
  const html = named.indexOf('text/html');
  const asJson = named.indexOf('application/json');
  return html !== -1 && (asJson === -1 || html < asJson);
}

/** The WebSocket is served beside the routes (event-hub.ts); here it is only described. */
function describeEvents(app: OpenAPIHono): void {
  app.openAPIRegistry.registerPath({
    method: 'get',
    path: '/api/jobs/{id}/events',
    operationId: 'followJob',
    summary: 'WebSocket: everything after SEQ, then live',
    description:
      'Each text frame is one JSON event or an array of them, in the order of seq, nothing twice and nothing skipped. A browser sends the token as the subprotocols "pgsluice" and "bearer." followed by the base64url of the token.',
    security,
    request: {
      params: JobId,
      query: z.object({
        after: z.coerce
          .number()
          .int()
          .nonnegative()
          .optional()
          .openapi({ description: 'seq of the last event you have.' }),
      }),
    },
    responses: {
      101: {
        description: 'Switching to WebSocket.',
        content: { 'application/json': { schema: z.union([JobEvent, ResetMessage]) } },
      },
      ...problems,
    },
  });
}
