import { OpenAPIHono, z } from '@hono/zod-openapi';
import type { MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { compress } from 'hono/compress';
import { cors } from 'hono/cors';
import { methodNotAllowed } from 'hono/method-not-allowed';
import type { Logger } from 'pino';
import { PgsluiceError } from '../errors.ts';
import type { ApiManager } from './api-manager.ts';
import { bearerToken, originAllowed, originError, sameToken, unauthorizedError } from './auth.ts';
import { addGroupRoutes } from './group-routes.ts';
import { addJobRoutes } from './job-routes.ts';
import { renderMetrics } from './metrics.ts';
import { problem, problemOf, problemOfInput, problemResponse } from './problem.ts';
import { loadAssets, serveAsset } from './static.ts';

export interface AppOptions {
  readonly manager: ApiManager;
  readonly token: string;
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
}

/** A request names two servers and some globs. */
const maxBodyBytes = 256 * 1024;
const reading = new Set(['GET', 'HEAD', 'OPTIONS']);

/** The HTTP side of the agent. Holds no state but the page's files. */
export async function createApp(options: AppOptions): Promise<OpenAPIHono> {
  const { manager, token, logger, version } = options;
  const allowedOrigins = options.allowedOrigins ?? [];
  const assets = await loadAssets(options.webDir);

  const app = new OpenAPIHono({
    defaultHook: (result) => (result.success ? undefined : problemResponse(problemOfInput(result.error))),
  });

  app.onError((error, c) => {
    const body = problemOf(error);
    if (body.status >= 500) logger.error({ err: error, method: c.req.method, path: c.req.path }, 'request failed');
    return problemResponse(body, headersOf(body.status));
  });
  app.notFound((c) => serveAsset(assets, c.req.raw) ?? problemResponse(notFound(c.req.path, assets.size > 0)));

  app.use(safeHeaders);
  if (allowedOrigins.length > 0) {
    app.use(
      '/api/*',
      cors({ origin: [...allowedOrigins], allowHeaders: ['authorization', 'content-type'], maxAge: 600 }),
    );
  }
  app.use('/api/*', originGuard(allowedOrigins), tokenGuard(token));
  app.use('/metrics', tokenGuard(token));
  app.use(
    '/api/*',
    compress(),
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
  app.openAPIRegistry.registerComponent('securitySchemes', 'bearer', { type: 'http', scheme: 'bearer' });
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: {
      title: 'pgsluice',
      version,
      description: 'Moves a PostgreSQL database from one server to another while people watch.',
    },
  });
  return app;
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
    .object({ version: z.string(), allowCommands: z.boolean().openapi({ description: 'Jobs may name programs.' }) })
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
    (c) => c.json({ version, allowCommands: options.allowCommands === true }, 200),
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
      const text = renderMetrics(manager.metrics(), await manager.list(), {
        version,
        websocketClients: options.websocketClients?.() ?? 0,
        residentBytes: process.memoryUsage.rss(),
        uptimeSeconds: Math.round(process.uptime()),
      });
      return c.text(text, 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
    },
  );
}

const safeHeaders: MiddlewareHandler = async (c, next) => {
  await next();
  c.header('x-content-type-options', 'nosniff');
  c.header('referrer-policy', 'no-referrer');
  c.header('cross-origin-opener-policy', 'same-origin');
  c.header('cross-origin-resource-policy', 'same-origin');
  if (c.req.path.startsWith('/api/') && !c.res.headers.has('cache-control')) c.header('cache-control', 'no-store');
};

function headersOf(status: number): Record<string, string> {
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

function tokenGuard(token: string): MiddlewareHandler {
  return async (c, next) => {
    const given = bearerToken(c.req.header('authorization'));
    if (given === null || !sameToken(given, token)) throw unauthorizedError();
    await next();
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
