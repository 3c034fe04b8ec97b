import { createRoute, z, type OpenAPIHono } from '@hono/zod-openapi';
import { GroupAction, GroupActionResult, GroupRequest, GroupView } from '../contract/group.ts';
import { Problem } from '../contract/job.ts';
import { assertCommandAllowed } from '../jobs/commands.ts';
import type { ApiManager } from './api-manager.ts';

const GroupId = z.object({
  id: z.string().openapi({ param: { name: 'id', in: 'path' }, description: 'Id of the group.' }),
});

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

const actionSummaries: Readonly<Record<GroupAction, string>> = {
  validate: 'Run the checks of every database that has not begun; nothing is changed on either side',
  start: 'Start the migration of every database that has not begun',
  pause: 'Pause every database that is being moved; those that wait go on waiting',
  resume: 'Go on with every database that is paused or has not begun',
  cancel: 'End the jobs of all databases',
  retry: 'Run the failed and blocked databases again; the others stay as they are',
};

/** Everything under /api/groups: jobs that were made together, one a database of the same two servers. */
export function addGroupRoutes(app: OpenAPIHono, { groups }: Pick<ApiManager, 'groups'>, allowCommands: boolean): void {
  app.openapi(
    createRoute({
      method: 'post',
      path: '/api/groups',
      operationId: 'createGroup',
      summary: 'Create one job for each of several databases, or for all of them',
      description:
        'The database in the two URLs is only where the lists of databases are read. Each database goes into the one of the same name; what is left out stands in the plan with its reason.',
      security,
      request: { body: { required: true, content: { 'application/json': { schema: GroupRequest } } } },
      responses: { 201: json(GroupView, 'The new group.'), ...problems },
    }),
    async (c) => {
      const request = c.req.valid('json');
      assertCommandAllowed(request.options, allowCommands);
      const group = await groups.create(request);
      return c.json(group, 201, { location: `/api/groups/${encodeURIComponent(group.id)}` });
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/groups',
      operationId: 'listGroups',
      summary: 'All groups, the newest first',
      security,
      responses: { 200: json(z.object({ groups: z.array(GroupView) }), 'The groups.'), ...problems },
    }),
    async (c) => c.json({ groups: await groups.list() }, 200),
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/groups/{id}',
      operationId: 'getGroup',
      summary: 'One group: its plan, its jobs and their totals',
      security,
      request: { params: GroupId },
      responses: { 200: json(GroupView, 'The group.'), ...problems },
    }),
    async (c) => c.json(await groups.get(c.req.valid('param').id), 200),
  );

  app.openapi(
    createRoute({
      method: 'delete',
      path: '/api/groups/{id}',
      operationId: 'deleteGroup',
      summary: 'Forget all jobs of a group, none of which runs',
      security,
      request: { params: GroupId },
      responses: { 204: { description: 'The group is forgotten.' }, ...problems },
    }),
    async (c) => {
      await groups.remove(c.req.valid('param').id);
      return c.body(null, 204);
    },
  );

  for (const action of GroupAction.options) {
    app.openapi(
      createRoute({
        method: 'post',
        path: `/api/groups/{id}/${action}`,
        operationId: `${action}Group`,
        summary: actionSummaries[action],
        security,
        request: { params: GroupId },
        responses: {
          200: json(GroupActionResult, 'What happened to each member, and the group after it.'),
          ...problems,
        },
      }),
      async (c) => c.json(await groups.act(c.req.valid('param').id, action), 200),
    );
  }
}
