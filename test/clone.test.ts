import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { everything, pagila, type Stage } from './scenarios.ts';
import { slice } from './support/long.ts';
import { pagilaDir } from './support/pagila.ts';
import { findMajor, type MajorSearch, startServer, type TestServer } from './support/servers.ts';

const pairs = [
  [15, 15],
  [15, 17],
  [15, 18],
] as const;

for (const [from, to] of pairs) {
  const searches = await Promise.all([findMajor(from), findMajor(to)]);
  const lacking = searches.find((search) => search.binDir === null);
  const why = lacking === undefined ? '' : ` (skipped: ${lacking.reason})`;

  describe.skipIf(lacking !== undefined)(`a clone from PostgreSQL ${from} to ${to}${why}`, () => {
    const servers: TestServer[] = [];
    let stage: Stage;

    beforeAll(async () => {
      const [source, target] = await Promise.all([start('source', searches[0]), start('target', searches[1])]);
      stage = { source, target, pgBin: existsSync(join(target.binDir, 'pg_dump')) ? target.binDir : undefined };
    });
    afterAll(() => Promise.all(servers.map((server) => server.stop())));

    async function start(name: string, { binDir }: MajorSearch): Promise<TestServer> {
      const server = await startServer({ name, ...(binDir === null ? {} : { binDir }) });
      servers.push(server);
      return server;
    }

    it.skipIf(pagilaDir() === null).each(slice([to], (major) => major === 17))('carries Pagila to %i', async () => {
      expect(await pagila(stage)).toBeGreaterThan(20);
    });
    it('carries every kind of object and value, and notices whatever is missing', async () => {
      expect(await everything(stage)).toBeGreaterThan(40);
    });
  });
}
