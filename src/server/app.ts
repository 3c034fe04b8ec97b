import { OpenAPIHono, z } from '@hono/zod-openapi';
import type { MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { compress } from 'hono/compress';
import { cors } from 'hono/cors';
import { methodNotAllowed } from 'hono/method-not-allowed';
import type { Logger } from 'pino';
import { Caller } from '../contract/access.ts';
import { PgsluiceError } from '../errors.ts';
import type { ApiManager } from './api-manager.ts';
import { addAccessRoutes } from './access-routes.ts';
import { auditor } from './audit.ts';
import { bearerToken, originAllowed, originError } from './auth.ts';
import { addGroupRoutes } from './group-routes.ts';
import { type Caller as GuardCaller, type Guard, TooManyFailures } from './guard.ts';
import { headersFor } from './headers.ts';
import { addJobRoutes } from './job-routes.ts';
import { renderMetrics } from './metrics.ts';
import { asked } from './permissions.ts';
import { problem, problemOf, problemOfInput, problemResponse } from './problem.ts';
import { sharedManager } from './share-view.ts';
import { loadAssets, serveAsset } from './static.ts';

export interface AppOptions {
  readonly manager: ApiManager;
  /** Who may do what. */
  readonly guard: Guard;
  /** Directory of the built page. */
  readonly webDir: string;
  readonly version: string;
  readonly logger: Logger;
  /** Origins of pages that other servers deliver and that may use this agent. */
  readonly allowedOrigins?: readonly string[];
  /** Jobs may name a command that the agent runs at the hand-over: whoever holds the token then runs programs here. */
  readonly allowCommands?: boolean;
  /** How many clients follow jobs, for the metrics. */
  readonly websocketClients?: () => number;
  /** True where clients come by TLS. */
  readonly secure?: boolean;
  /** Canonical address of the client of a request; empty where there is no network. */
  readonly addressOf?: (env: unknown) => string;
  /** Ends the sockets of a token or share that was revoked. */
  readonly ended?: (id: string) => void;
}

/** A request names two servers and some globs. */
const maxBodyBytes = 256 * 1024;
const reading = new Set(['GET', 'HEAD', 'OPTIONS']);

/** The HTTP side of the agent. Holds no state but the page's files. */
export async function createApp(options: AppOptions): Promise<OpenAPIHono> {
  const { manager, guard, logger } = options;
  const allowedOrigins = options.allowedOrigins ?? [];
  const assets = await loadAssets(options.webDir);

  const app = newRouter(logger);
  app.notFound((c) => serveAsset(assets, c.req.raw) ?? problemResponse(notFound(c.req.path, assets.size > 0)));

  app.use(safeHeaders(headersFor(options.secure === true)));
  if (allowedOrigins.length > 0) {
    app.use(
      '/api/*',
      cors({ origin: [...allowedOrigins], allowHeaders: ['authorization', 'content-type'], maxAge: 600 }),
    );
  }
  const identify = callerGuard(guard, options.addressOf ?? (() => ''));
  app.use('/metrics', identify, roleGuard(guard));
  app.use(
    '/api/*',
    compress(),
    originGuard(allowedOrigins),
    identify,
    auditor(manager.access, logger),
    roleGuard(guard),
    shareDoor(sharedRouter(options)),
    bodyLimit({
      maxSize: maxBodyBytes,
      onError: () => {
        throw new PgsluiceError({
          code: 'BODY_TOO_LARGE',
          message: `The body is larger than ${maxBodyBytes / 1024} kB.`,
          hint: 'Use globs instead of listing every table.',
        });
      },
    }),
  );
  app.use(
    methodNotAllowed({
      app,
      onMethodNotAllowed: (c, methods) =>
        problemResponse(
          problem(405, {
            code: 'METHOD_NOT_ALLOWED',
            message: `${c.req.method} is not possible at ${c.req.path}.`,
            hint: `Use ${methods.join(' or ')}.`,
          }),
          { allow: methods.join(', ') },
        ),
    }),
  );

  addRoutes(app, options);
  return app;
}

function newRouter(logger: Logger): OpenAPIHono {
  const app = new OpenAPIHono({
    defaultHook: (result) => (result.success ? undefined : problemResponse(problemOfInput(result.error))),
  });
  app.onError((error, c) => {
    const body = problemOf(error);
    if (body.status >= 500) logger.error({ err: error, method: c.req.method, path: c.req.path }, 'request failed');
    return problemResponse(body, headersOf(body.status, error));
  });
  return app;
}

/** The routes as those reach them who have come by a link to one job: over a manager that only reads, and says less. */
function sharedRouter(options: AppOptions): OpenAPIHono {
  const router = newRouter(options.logger);
  const shared = { ...options, manager: sharedManager(options.manager) };
  router.use(async (c, next) => {
    c.set('caller', (c.env as { readonly caller: GuardCaller }).caller);
    await next();
  });
  addJobRoutes(router, shared.manager, false);
  addAgentRoutes(router, shared);
  return router;
}

function addRoutes(app: OpenAPIHono, options: AppOptions): void {
  const { manager, version } = options;
  addJobRoutes(app, manager, options.allowCommands === true);
  addGroupRoutes(app, manager, options.allowCommands === true);
  app.get('/api/jobs/:id/events', () =>
    problemResponse(
      problem(426, {
        code: 'UPGRADE_REQUIRED',
        message: 'Events of a job are a WebSocket.',
        hint: 'Connect to the same address with ws:// or wss://; the log as a text is at …/logs?format=text.',
      }),
      { upgrade: 'websocket' },
    ),
  );
  addAgentRoutes(app, options);
  addAccessRoutes(app, { manager, ended: options.ended ?? (() => undefined) });
  app.openAPIRegistry.registerComponent('securitySchemes', 'bearer', { type: 'http', scheme: 'bearer' });
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: {
      title: 'pgsluice',
      version,
      description: 'Moves a PostgreSQL database from one server to another while people watch.',
    },
  });
}

function addAgentRoutes(app: OpenAPIHono, options: AppOptions): void {
  const { manager, version } = options;
  const Health = z.object({ status: z.literal('ok'), version: z.string() });
  const health = (path: string, summary: string) =>
    ({
      method: 'get',
      path,
      summary,
      responses: { 200: { content: { 'application/json': { schema: Health } }, description: 'Yes.' } },
    }) as const;

  app.openapi(health('/healthz', 'Does the agent live?'), (c) => c.json({ status: 'ok' as const, version }, 200));
  app.openapi(health('/readyz', 'Does the agent take work, and does its store answer?'), async (c) => {
    if (!(await manager.ready())) {
      throw new PgsluiceError({
        code: 'NOT_READY',
        message: 'The agent stops, or its store does not answer.',
        hint: 'Look at the log of the agent.',
        retryable: true,
      });
    }
    return c.json({ status: 'ok' as const, version }, 200);
  });
  const Agent = z
    .object({
      version: z.string(),
      allowCommands: z.boolean().openapi({ description: 'Jobs may name programs.' }),
      you: Caller,
    })
    .openapi('Agent');
  app.openapi(
    {
      method: 'get',
      path: '/api/agent',
      operationId: 'getAgent',
      summary: 'What this agent is and allows',
      security: [{ bearer: [] }],
      responses: { 200: { content: { 'application/json': { schema: Agent } }, description: 'The agent.' } },
    },
    (c) => {
      const { role, name, job } = c.get('caller');
      return c.json({ version, allowCommands: options.allowCommands === true, you: { role, name, job } }, 200);
    },
  );
  app.openapi(
    {
      method: 'get',
      path: '/metrics',
      summary: 'Figures for Prometheus',
      security: [{ bearer: [] }],
      responses: { 200: { content: { 'text/plain': { schema: z.string() } }, description: 'Text exposition format.' } },
    },
    async (c) => {
      const text = renderMetrics(manager.metrics(), await manager.list({ following: true }), {
        version,
        websocketClients: options.websocketClients?.() ?? 0,
        residentBytes: process.memoryUsage.rss(),
        uptimeSeconds: Math.round(process.uptime()),
      });
      return c.text(text, 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
    },
  );
}

/** What an answer has said for itself, the page's own policy for instance, stands. */
function safeHeaders(headers: Readonly<Record<string, string>>): MiddlewareHandler {
  return async (c, next) => {
    await next();
    for (const [name, value] of Object.entries(headers)) if (!c.res.headers.has(name)) c.header(name, value);
    if (c.req.path.startsWith('/api/') && !c.res.headers.has('cache-control')) c.header('cache-control', 'no-store');
  };
}

function headersOf(status: number, error: unknown): Record<string, string> {
  if (error instanceof TooManyFailures) return { 'retry-after': String(error.retryAfterSeconds) };
  if (status === 401) return { 'www-authenticate': 'Bearer realm="pgsluice"' };
  // The rest of the body is not read, so nothing else can follow on this connection.
  return status === 413 ? { connection: 'close' } : {};
}

/** A foreign page must not change anything even if it came by the token. */
function originGuard(allowed: readonly string[]): MiddlewareHandler {
  return async (c, next) => {
    const origin = c.req.header('origin');
    if (!reading.has(c.req.method) && !originAllowed({ origin, host: c.req.header('host') }, allowed)) {
      throw originError(origin ?? 'nowhere');
    }
    await next();
  };
}

function callerGuard(guard: Guard, addressOf: (env: unknown) => string): MiddlewareHandler {
  return async (c, next) => {
    const address = addressOf(c.env);
    const caller = await guard.callerOf(bearerToken(c.req.header('authorization')), address);
    c.set('address', address);
    c.set('caller', caller);
    c.set('asked', asked(c.req.method, c.req.path));
    await next();
  };
}

function roleGuard(guard: Guard): MiddlewareHandler {
  return async (c, next) => {
    guard.assertMay(c.get('caller'), c.req.method, c.req.path);
    await next();
  };
}

/** Whoever has come by a share never gets to the routes of the others. */
function shareDoor(shared: OpenAPIHono): MiddlewareHandler {
  return async (c, next) => {
    const caller = c.get('caller');
    if (caller.role !== 'share') return await next();
    return await shared.fetch(c.req.raw, { caller });
  };
}

function notFound(path: string, pageBuilt: boolean) {
  if (path === '/' && !pageBuilt) {
    return problem(404, {
      code: 'PAGE_NOT_BUILT',
      message: 'The API runs, but the web page is not built.',
      hint: 'Run: npm run build',
    });
  }
  return problem(404, {
    code: 'NOT_FOUND',
    message: `There is nothing at ${path}.`,
    hint: 'GET /openapi.json lists what there is.',
  });
}
