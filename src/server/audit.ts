import type { Context, MiddlewareHandler } from 'hono';
import type { Logger } from 'pino';
import type { Access } from '../jobs/access.ts';
import type { Caller } from './guard.ts';
import { type Asked, asked } from './permissions.ts';

declare module 'hono' {
  interface ContextVariableMap {
    /** Who asks; set by the guard of /api. */
    caller: Caller;
    /** What they ask for; set with `caller`. */
    asked: Asked;
    /** Of the client, canonical; empty where there is no network. */
    address: string;
  }
}

/** Writes down who changed what, or tried to, once it is known what came of it. Nothing of a request's body is kept. */
export function auditor(access: Pick<Access, 'record'>, logger: Logger): MiddlewareHandler {
  return async (c, next) => {
    await next();
    const { action, subject } = c.get('asked');
    if (action === null) return;
    const { id, name } = c.get('caller');
    const { status } = c.res;
    const failed = status >= 400 ? await codeOf(c.res) : null;
    const entry = {
      actor: id,
      actorName: name,
      address: c.get('address'),
      action,
      subject: made(c) ?? subject,
      status,
      code: failed,
    };
    try {
      await access.record(entry);
    } catch (error) {
      // What was done is done: the answer must not say otherwise.
      logger.error({ err: error, ...entry }, 'the log of who did what could not be written');
    }
  };
}

/** The ids in the address of what was made. */
function made(c: Context): string | null {
  const location = c.res.headers.get('location');
  return location === null ? null : asked('DELETE', location).subject;
}

async function codeOf(response: Response): Promise<string> {
  const body: unknown = await response
    .clone()
    .json()
    .catch(() => null);
  const code: unknown = typeof body === 'object' && body !== null ? Reflect.get(body, 'code') : null;
  return typeof code === 'string' ? code : `HTTP_${response.status}`;
}
