import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { CheckResult } from '../src/contract/check.ts';
import type { JobView } from '../src/contract/job.ts';
import { chromiumPath, noChromium, openBrowser, schemesAt } from './support/browser.ts';
import type { TestBrowser } from './support/browser.ts';
import { contentsOf } from './support/contents.ts';
import { startDaemon } from './support/daemon.ts';
import type { Daemon } from './support/daemon.ts';
import { startServer } from './support/servers.ts';
import type { TestServer } from './support/servers.ts';

// Archives, several databases and accepted warnings as a person meets them in the page, on real servers.

let source: TestServer;
let target: TestServer;
let chromium: TestBrowser;
let daemon: Daemon;
let state: string;
const cleanups: (() => Promise<void>)[] = [];
/** Set to a directory, every state that is looked at is also kept there as a picture. */
const shots = process.env['PGSLUICE_TEST_SHOTS'];

/** A database of an ordinary role on a server that looks like Amazon's, with two things to be warned of. */
const shop = `
  CREATE TABLE schema_migrations (version bigint PRIMARY KEY, inserted_at timestamp(0));
  INSERT INTO schema_migrations VALUES (20260401120000, now()), (20260312080000, now());
  CREATE TABLE item (id int PRIMARY KEY, parent int, note text);
  INSERT INTO item SELECT i, i / 2, md5(i::text) FROM generate_series(1, 5000) i;
  CREATE INDEX item_parent ON item (parent);`;

/** Two things that a validation warns of; what a superuser has left behind. */
const leftBehind = `
  UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'item_parent'::regclass;
  CREATE SUBSCRIPTION nightly CONNECTION 'dbname=other' PUBLICATION nightly WITH (connect = false, slot_name = 'nightly');
  ALTER SUBSCRIPTION nightly ENABLE;`;

beforeAll(async () => {
  if (chromiumPath === null) return;
  state = await mkdtemp(join(tmpdir(), 'pgsluice-test-archive-page-'));
  [source, target, chromium, daemon] = await Promise.all([
    startServer({ name: 'archive-page-source' }),
    startServer({ name: 'archive-page-target' }),
    openBrowser(),
    startDaemon(state),
  ]);
  for (const server of [source, target]) {
    await server.run(`CREATE ROLE app LOGIN CREATEDB PASSWORD '${server.password}'`);
  }
  await source.run('CREATE ROLE rds_superuser NOLOGIN');
  await source.createDatabase('shop', 'OWNER app');
  await source.run(`SET ROLE app; ${shop}`, 'shop');
  await source.run(leftBehind, 'shop');
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

afterAll(async () => {
  await daemon?.stop();
  await Promise.all([source?.stop(), target?.stop(), chromium?.close()]);
  if (state !== undefined) await rm(state, { recursive: true, force: true });
});

async function openPage(route: string, options: { width?: number; bypassCSP?: boolean } = {}): Promise<Page> {
  const { width = 1440, bypassCSP = false } = options;
  const context = await chromium.browser.newContext({ viewport: { width, height: 900 }, bypassCSP });
  cleanups.push(() => context.close());
  const page = await context.newPage();
  page.on('pageerror', (error) => {
    throw error;
  });
  await page.goto(`${daemon.url}/#token=${daemon.token}&${route}`);
  return page;
}

async function shot(page: Page, name: string): Promise<void> {
  if (shots === undefined) return;
  await mkdir(shots, { recursive: true });
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
}

/** A job of the ordinary role, validated. */
async function validatedJob(database: string): Promise<string> {
  const { id } = (await daemon.api('/api/jobs', {
    method: 'POST',
    body: { source: { url: source.url('shop', 'app') }, target: { url: target.url(database, 'app') } },
  })) as JobView;
  await daemon.api(`/api/jobs/${id}/validate`, { method: 'POST', body: {} });
  await expect
    .poll(async () => ((await daemon.api(`/api/jobs/${id}`)) as JobView).state, { timeout: 20_000 })
    .toBe('ready');
  return id;
}

const text = (page: Page, testId: string): Promise<string> => page.getByTestId(testId).innerText();

describe.skipIf(chromiumPath === null)(
  `archives, groups and warnings in the page (${chromiumPath ?? noChromium})`,
  () => {
    test('a warning is accepted by name and stays in sight, a check is made again alone, all of it becomes a file', async () => {
      await target.createDatabase('shop', 'OWNER app');
      const id = await validatedJob('shop');
      const page = await openPage(`/jobs/${id}/validate`);
      const warning = page.getByTestId('check-objects.subscriptions');
      await warning.waitFor();
      expect(await text(page, 'places')).toContain('Amazon RDS');

      await page.getByTestId('accept-objects.subscriptions').focus();
      await page.keyboard.press('Enter');
      await page.keyboard.press('Enter');
      await expect.poll(() => warning.innerText()).toContain('Say who accepts it.');
      await page.keyboard.insertText('Ada Lovelace');
      await page.keyboard.press('Tab');
      await page.keyboard.insertText('Nothing arrives by it any more.');
      await page.keyboard.press('Enter');
      await expect
        .poll(() => warning.innerText())
        .toMatch(/Accepted by Ada Lovelace, .*: Nothing arrives by it any more\./);
      const focused = (): Promise<string | null | undefined> =>
        page.evaluate(() => document.activeElement?.getAttribute('data-testid'));
      await expect.poll(focused).toBe('unaccept-objects.subscriptions');
      await page.reload();
      await expect.poll(() => warning.innerText()).toContain('Accepted by Ada Lovelace');
      await shot(page, 'accepted');

      const other = page.getByTestId('check-objects.invalid-indexes');
      expect(await other.getAttribute('data-outcome')).toBe('warned');
      await source.run('REINDEX INDEX item_parent', 'shop');
      await page.getByTestId('run-objects.invalid-indexes').click();
      await expect.poll(() => other.getAttribute('data-outcome')).toBe('passed');

      const saved = page.waitForEvent('download');
      await page.getByTestId('save-checks-csv').click();
      const file = await readFile(await (await saved).path(), 'utf8');
      const { checks } = (await daemon.api(`/api/jobs/${id}/checks`)) as { checks: CheckResult[] };
      for (const check of checks) expect(file).toContain(check.id);
      expect(file).toContain('Ada Lovelace');

      await page.getByTestId('start-migration').click();
      await page.getByTestId('result').waitFor({ timeout: 60_000 });
      await expect.poll(() => text(page, 'result')).toMatch(/20260401120000[\s\S]*the target says the same/);
      await expect.poll(() => text(page, 'result')).toContain('The source runs on Amazon RDS');
      await page.getByTestId('report-link').click();
      await expect.poll(() => page.getByRole('article').innerText()).toContain('Warnings that a person let stand');
      expect(await page.getByRole('article').innerText()).toContain('Accepted by Ada Lovelace');
      expect(await contentsOf(target, 'shop')).toEqual(await contentsOf(source, 'shop'));
    });

    test('several databases: one form, one page with all of them, one heading in the list', async () => {
      for (const name of ['group_a', 'group_b']) {
        await source.createDatabase(name);
        await source.run(`CREATE TABLE t AS SELECT i, md5(i::text) FROM generate_series(1, 3000) i`, name);
      }
      await target.createDatabase('group_b');
      const page = await openPage('/new');
      await page.getByTestId('source-url').fill(source.url('postgres'));
      await page.getByTestId('target-url').fill(target.url('postgres'));
      await page.getByTestId('databases-list').check();
      await page.getByTestId('database-list').fill('group_a\ngroup_b\n');
      await page.getByTestId('create-database').check();
      await page.locator('#name').fill('Two of a kind');
      await page.getByTestId('run-validation').click();
      await expect.poll(() => text(page, 'group-summary'), { timeout: 30_000 }).toContain('2 ready');
      await page.getByTestId('group-start').click();
      const rows = page.locator('[data-testid="database-row"][data-state="completed"]');
      await expect.poll(() => rows.count(), { timeout: 60_000 }).toBe(2);
      expect(await rows.first().innerText()).toMatch(/3,000[\s\S]*Equal[\s\S]*0/);
      expect(await text(page, 'group-summary')).toContain('2 completed');
      expect(await page.getByTestId('group-cancel').count()).toBe(0);
      await shot(page, 'group');
      for (const name of ['group_a', 'group_b']) {
        expect(await contentsOf(target, name)).toEqual(await contentsOf(source, name));
      }
      await rows.first().getByRole('link').click();
      await page.getByTestId('result').waitFor();
      await page.getByRole('link', { name: 'Two of a kind' }).click();
      await page.getByTestId('group-summary').waitFor();
      await page.goto(`${daemon.url}/#/jobs`);
      const section = page.getByTestId('group-section');
      await expect.poll(() => section.getByTestId('job-card').count()).toBe(2);
      expect(await section.getByRole('heading', { level: 2 }).innerText()).toMatch(/Two of a kind\s+2 databases/);
    });

    test('by keyboard alone: a database is saved to an archive, and the archive is loaded into another', async () => {
      const archive = join(state, "Ada's archive");
      const page = await openPage('/new');
      await page.getByTestId('kind-move').waitFor();
      const focusOn = async (testId: string): Promise<void> => {
        for (let presses = 0; presses < 80; presses += 1) {
          const focused = await page.evaluate(() => document.activeElement?.getAttribute('data-testid') ?? '');
          if (focused === testId) return;
          await page.keyboard.press('Tab');
        }
        throw new Error(`${testId} cannot be reached with the Tab key`);
      };
      await focusOn('kind-move');
      await page.keyboard.press('ArrowRight');
      await page.getByTestId('archive-path').waitFor();
      expect(await page.getByTestId('target-url').count()).toBe(0);
      await focusOn('source-url');
      await page.keyboard.insertText(source.url('shop', 'app'));
      await focusOn('archive-path');
      await page.keyboard.insertText(archive);
      await focusOn('run-validation');
      await page.keyboard.press('Enter');
      await page.getByTestId('start-migration').waitFor({ timeout: 30_000 });
      await focusOn('start-migration');
      await page.keyboard.press('Enter');
      await page.getByTestId('result').waitFor({ timeout: 60_000 });
      expect(await text(page, 'result')).toMatch(/Saved and verified/);
      await expect.poll(() => text(page, 'archive')).toMatch(/Ada's archive[\s\S]*KiB/);
      expect(await text(page, 'archive')).toContain(`pgsluice import '${archive.replaceAll("'", `'\\''`)}'`);
      await shot(page, 'export');

      await target.createDatabase('loaded', 'OWNER app');
      await page.goto(`${daemon.url}/#/new`);
      await page.getByTestId('kind-import').check();
      expect(await page.getByTestId('source-url').count()).toBe(0);
      await page.getByTestId('archive-path').fill(archive);
      await page.getByTestId('target-url').fill(target.url('loaded', 'app'));
      await page.getByTestId('run-validation').click();
      await page.getByTestId('start-migration').click({ timeout: 30_000 });
      await page.getByTestId('result').waitFor({ timeout: 60_000 });
      expect(await text(page, 'result')).toMatch(/Loaded and verified/);
      await shot(page, 'import');
      expect(await contentsOf(target, 'loaded')).toEqual(await contentsOf(source, 'shop'));
    });

    test.each([360, 1440])(
      'axe finds nothing at %i px, in light and dark, on every page that is new',
      async (width) => {
        const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
        const page = await openPage('/jobs', { width, bypassCSP: true });
        const look = async (name: string, ...schemes: readonly ('light' | 'dark')[]): Promise<void> => {
          for (const colorScheme of schemesAt(width, schemes)) {
            await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
            await page.waitForTimeout(150);
            await page.evaluate(axe);
            const found = await page.evaluate(async () => {
              const runner = Reflect.get(window, 'axe') as {
                run(): Promise<{ violations: { id: string; impact: string; nodes: { html: string }[] }[] }>;
              };
              const { violations } = await runner.run();
              return violations.map(({ id: rule, impact, nodes }) => `${impact} ${rule}: ${nodes[0]?.html ?? ''}`);
            });
            expect(found, `${name} ${colorScheme}`).toEqual([]);
            const wider = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
            expect(wider, `${name} scrolls sideways`).toBe(false);
            await shot(page, `${name}-${width}-${colorScheme}`);
          }
        };
        await page.getByTestId('group-link').waitFor();
        await look('list', 'light', 'dark');
        await page.getByTestId('group-link').click();
        await page.getByTestId('group-summary').waitFor();
        await look('group', 'light', 'dark');
        await page.goto(`${daemon.url}/#/new`);
        await page.getByTestId('databases-list').check();
        await page.getByText('More: parallel work').click();
        await page.getByTestId('add-role').click();
        await page.getByText('Tell something of yours').click();
        await page.getByTestId('add-hook').click();
        await page.getByTestId('run-validation').click();
        await look('form-move', 'dark', 'light');
        for (const kind of ['export', 'import']) {
          await page.getByTestId(`kind-${kind}`).check();
          await look(`form-${kind}`, 'light');
        }
        const name = `axe_${width}`;
        await target.createDatabase(name, 'OWNER app');
        const id = await validatedJob(name);
        await page.goto(`${daemon.url}/#/jobs/${id}/validate`);
        await page.getByTestId('accept-objects.subscriptions').click();
        await look('accepting', 'light', 'dark');
      },
    );

    test('a list of 200 jobs is refreshed and scrolled with next to no work of the page', async ({ annotate }) => {
      const url = 'postgres://a@127.0.0.1:1/a';
      for (let job = 0; job < 200; job += 1) {
        await daemon.api('/api/jobs', {
          method: 'POST',
          body: { name: `job ${job}`, source: { url }, target: { url } },
        });
      }
      const page = await openPage('/jobs');
      await expect.poll(() => page.getByTestId('job-card').count()).toBe(100);
      await page.getByTestId('older-jobs').click();
      await expect.poll(() => page.getByTestId('job-card').count()).toBeGreaterThanOrEqual(200);
      await page.waitForTimeout(500);
      const devtools = await page.context().newCDPSession(page);
      await devtools.send('Performance.enable');
      /** Seconds that the page's own script, style and layout have taken so far; painting is the machine's. */
      const worked = async (): Promise<number> => {
        const { metrics } = await devtools.send('Performance.getMetrics');
        const own = new Set(['ScriptDuration', 'LayoutDuration', 'RecalcStyleDuration']);
        return metrics.filter(({ name }) => own.has(name)).reduce((sum, { value }) => sum + value, 0);
      };
      const before = await worked();
      const frames = await page.evaluate(async () => {
        let count = 0;
        // Long enough for a refresh of the list, which comes every 2.5 s.
        const until = performance.now() + 3200;
        for (let at = 0; at < until; count += 1) {
          window.scrollTo(0, (document.documentElement.scrollHeight * ((count * 37) % 121)) / 121);
          at = await new Promise<number>((resolve) => {
            requestAnimationFrame(resolve);
          });
        }
        return count;
      });
      const ms = ((await worked()) - before) * 1000;
      await annotate(`${ms.toFixed(0)} ms of work in 3.2 s, ${frames} frames`);
      expect(ms).toBeLessThan(300);
    });
  },
);
