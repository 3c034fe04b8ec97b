import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { JobRequest } from '../src/contract/options.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { startServer, type RunningServer } from '../src/server/server.ts';
import { fillState } from './support/fresh-state.ts';
import { root } from './support/binaries.ts';
import { chromiumPath, noChromium, openBrowser, type TestBrowser } from './support/browser.ts';
import { fakeRooms } from './support/fake-rooms.ts';

// What somebody sees who was given a link to one job, in a real browser under the page's own policy.

const logger = pino({ level: 'silent' });
let directory: string;
let manager: JobManager;
let server: RunningServer;
let chrome: TestBrowser;

beforeAll(async () => {
  if (chromiumPath === null) return;
  directory = await mkdtemp(join(tmpdir(), 'pgsluice-share-'));
  await fillState(join(directory, 'state'), 'k'.repeat(32));
  const config = { state: join(directory, 'state'), secretKey: 'k'.repeat(32), concurrency: 2, pgBinDir: null, logger };
  manager = await JobManager.open({ ...config, role: 'daemon' }, fakeRooms({ tables: 30, tableMs: 60, failFirst: 1 }));
  const web = { webDir: join(root, 'dist/web'), version: '1' };
  server = await startServer({ manager, token: 'own-token-of-the-agent', ...web, logger, host: '127.0.0.1', port: 0 });
  chrome = await openBrowser();
});

afterAll(async () => {
  if (chromiumPath === null) return;
  await chrome.close();
  await server.close();
  await manager.stop('The test ended.');
  await rm(directory, { recursive: true, force: true });
});

test.skipIf(chromiumPath === null)(
  `a link shows its job live and changes nothing, and says so when it has ended${chromiumPath === null ? ` (${noChromium})` : ''}`,
  async () => {
    const side = { host: 'db.example.com', user: 'hidden-user', database: 'shop' };
    const job = await manager.create(JobRequest.parse({ name: 'Shop to Frankfurt', source: side, target: side }));
    const share = await manager.access.share(job.id, { expiresIn: 600 }, 'the test');
    const page = await chrome.browser.newPage({ viewport: { width: 1100, height: 800 } });
    const complaints: string[] = [];
    const foreign: string[] = [];
    page.on('console', (message) => {
      if (message.type() === 'error' && !message.text().includes('401')) complaints.push(message.text());
    });
    page.on('request', (request) => {
      if (new URL(request.url()).host !== new URL(server.url).host && !request.url().startsWith('data:'))
        foreign.push(request.url());
    });
    await page.goto(`${server.url}${share.path}`);
    await page.getByTestId('shared').waitFor();
    // Neither in the address bar nor in the history.
    expect(page.url()).not.toContain('share');
    await manager.act(job.id, 'start');
    await page.getByText('table t5 line 0').waitFor();
    await expect.poll(() => page.getByTestId('job-state').textContent(), { timeout: 20_000 }).toMatch(/Failed/i);
    const shot = process.env['PGSLUICE_TEST_SCREENSHOT'];
    if (shot !== undefined) await page.screenshot({ path: shot });
    const text = await page.locator('body').innerText();
    expect(text).toContain('Shop to Frankfurt');
    expect(text).not.toContain('hidden-user');
    const buttons = await page.getByRole('button').allInnerTexts();
    // Pause is that of the log, which stops rolling.
    expect(buttons).toEqual(['Colours: system', 'Table', 'Progress', 'Rows', 'Data', 'Pause', 'Download']);
    expect(await page.locator('nav').count()).toBe(0);
    await page.reload();
    await page.getByTestId('shared').waitFor();
    await manager.access.revokeShare(job.id, share.id);
    await page.reload();
    await page.getByTestId('share-ended').waitFor();
    expect(complaints).toEqual([]);
    expect(foreign).toEqual([]);
    await page.close();
  },
);
