import { readFileSync } from 'node:fs';
import { z } from '@hono/zod-openapi';

/** The same from `src/jobs` and from `dist/agent`: both lie two levels below the package. */
const packageFile = new URL('../../package.json', import.meta.url);

/** Of this pgsluice. */
export function packageVersion(): string {
  return z.object({ version: z.string() }).parse(JSON.parse(readFileSync(packageFile, 'utf8'))).version;
}
