import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { extname, join, relative, sep } from 'node:path';
import { gzipSync } from 'node:zlib';
import { errnoOf } from './errno.ts';

interface Asset {
  readonly body: Uint8Array<ArrayBuffer>;
  readonly gzip: Uint8Array<ArrayBuffer> | null;
  readonly type: string;
  readonly etag: string;
  readonly cacheControl: string;
}

/** The built page in memory (some hundred kB): no path of a request ever reaches the file system. */
export type Assets = ReadonlyMap<string, Asset>;

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.webmanifest': 'application/manifest+json',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.txt': 'text/plain; charset=utf-8',
  '.woff2': 'font/woff2',
};
const compressible = new Set(['.html', '.js', '.css', '.json', '.svg', '.txt', '.webmanifest']);

/** Everything comes from the agent itself, nothing may frame the page, and no inline script runs. */
export const pagePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "font-src 'self'",
  "connect-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join('; ');

/** The report is one document with its own style sheet and nothing else. */
export const reportPolicy =
  "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Reads the built page. A directory that does not exist gives an empty map: the API works without the page. */
export async function loadAssets(directory: string): Promise<Assets> {
  const assets = new Map<string, Asset>();
  for (const file of await listFiles(directory)) {
    const path = `/${relative(directory, file).split(sep).join('/')}`;
    assets.set(path, toAsset(path, new Uint8Array(await readFile(file))));
  }
  return assets;
}

async function listFiles(directory: string): Promise<string[]> {
  try {
    const entries = await readdir(directory, { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

function toAsset(path: string, body: Uint8Array<ArrayBuffer>): Asset {
  const extension = extname(path);
  return {
    body,
    gzip: compressible.has(extension) && body.length > 1024 ? new Uint8Array(gzipSync(body, { level: 9 })) : null,
    type: types[extension] ?? 'application/octet-stream',
    etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`,
    cacheControl: cacheControlOf(path),
  };
}

/** Vite puts a content hash into the names under /assets: those never change. Everything else is asked for anew. */
export function cacheControlOf(path: string): string {
  if (path.startsWith('/assets/') && /-[\w-]{8,}\.\w+$/.test(path)) return 'public, max-age=31536000, immutable';
  return path.endsWith('.html') ? 'no-store' : 'no-cache';
}

/** Answers a GET or HEAD of the page, or null when the path is none of its. The page's own views stand behind `#`. */
export function serveAsset(assets: Assets, request: Request): Response | null {
  if (request.method !== 'GET' && request.method !== 'HEAD') return null;
  const { pathname } = new URL(request.url);
  const asset = assets.get(pathname === '/' ? '/index.html' : pathname);
  if (asset === undefined) return null;
  const headers = new Headers({
    'content-type': asset.type,
    'cache-control': asset.cacheControl,
    etag: asset.etag,
    vary: 'accept-encoding',
    'content-security-policy': pagePolicy,
  });
  if (request.headers.get('if-none-match') === asset.etag) return new Response(null, { status: 304, headers });
  const packed = asset.gzip !== null && /\bgzip\b/.test(request.headers.get('accept-encoding') ?? '');
  const body = packed && asset.gzip !== null ? asset.gzip : asset.body;
  if (packed) headers.set('content-encoding', 'gzip');
  headers.set('content-length', String(body.length));
  return new Response(request.method === 'HEAD' ? null : body, { headers });
}
