import { dirname } from 'node:path';
import { PostgreSqlContainer, type StartedPostgreSqlContainer } from '@testcontainers/postgresql';
import { getContainerRuntimeClient } from 'testcontainers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { everything, pagila, type Stage } from './scenarios.ts';
import { pagilaDir } from './support/pagila.ts';
import { pgDumpFor, serverApi, type TestServerLike } from './support/servers.ts';

// The reaper is one more image to pull; the containers are stopped below, and by the engine with --rm at the latest.
process.env['TESTCONTAINERS_RYUK_DISABLED'] = 'true';

/** Why there are no containers here, or null when an engine answers and has or gets the images. */
async function whyNot(): Promise<string | null> {
  try {
    const client = await getContainerRuntimeClient();
    for (const major of [15, 17]) {
      const image = client.container.dockerode.getImage(`postgres:${major}`);
      await image.inspect();
    }
    return null;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return /no such image/i.test(message)
      ? 'the images postgres:15 and postgres:17 are not there; run `docker pull` for both'
      : `no Docker engine answers: ${message}`;
  }
}

/** Needs percent-encoding in a URL, and no quoting in a shell: the container's health check pastes it into one. */
const password = 'p@ss/word:%1';

const tools = await pgDumpFor(17, null).then(dirname, () => null);
const reason = tools === null ? 'pg_dump 17 is not installed; set PGSLUICE_TEST_PG_17 to its folder' : await whyNot();

describe.skipIf(reason !== null)(`in containers${reason === null ? '' : ` (skipped: ${reason})`}`, () => {
  const containers: StartedPostgreSqlContainer[] = [];
  let stage: Stage;

  async function start(major: number): Promise<TestServerLike> {
    const container = await new PostgreSqlContainer(`postgres:${major}`)
      .withUsername('postgres')
      .withPassword(password)
      .withDatabase('postgres')
      .withCommand(['-c', 'fsync=off', '-c', 'max_connections=60'])
      .start();
    containers.push(container);
    const api = serverApi({
      host: container.getHost(),
      port: container.getPort(),
      user: container.getUsername(),
      password: container.getPassword(),
      major,
      binDir: null,
    });
    return {
      ...api,
      stop: async () => {
        await container.stop();
      },
    };
  }

  beforeAll(async () => {
    const [source, target] = await Promise.all([start(15), start(17)]);
    stage = { source, target, pgBin: tools ?? undefined };
  }, 240_000);
  afterAll(() => Promise.all(containers.map((container) => container.stop())));

  it.skipIf(pagilaDir() === null)('carries Pagila from 15 to 17', async () => {
    expect(await pagila(stage)).toBeGreaterThan(20);
  });
  it('carries every kind of object and value from 15 to 17', async () => {
    expect(await everything(stage)).toBeGreaterThan(40);
  });
});
