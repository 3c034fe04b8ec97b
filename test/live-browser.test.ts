import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { JobOptions } from '../src/contract/options.ts';
import { PgsluiceError } from '../src/errors.ts';
import { chromiumPath, noChromium, openBrowser, schemesAt } from './support/browser.ts';
import type { TestBrowser } from './support/browser.ts';
import {
  ScriptedLiveJob,
  cutoverSteps,
  guardrails,
  liveProgress,
  liveToken,
  plannedSteps,
} from './support/live-events.ts';

// The page of a job that follows its source. What the agent says is scripted; agent's server, page and browser are real.

let chromium: TestBrowser;
const cleanups: (() => Promise<void>)[] = [];
/** Set to a directory, every state that is looked at is also kept there as a picture. */
const shots = process.env['PGSLUICE_TEST_SHOTS'];

beforeAll(async () => {
  if (chromiumPath !== null) chromium = await openBrowser();
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});
afterAll(async () => {
  await chromium?.close();
});

async function openJob(job: ScriptedLiveJob, options: { width?: number; bypassCSP?: boolean } = {}): Promise<Page> {
  const server = await job.serve();
  cleanups.push(() => server.close());
  const context = await chromium.browser.newContext({
    viewport: { width: options.width ?? 1440, height: 900 },
    bypassCSP: options.bypassCSP ?? false,
  });
  cleanups.push(() => context.close());
  const page = await context.newPage();
  page.on('pageerror', (error) => {
    throw error;
  });
  page.on('console', (message) => {
    if (message.type() === 'error') throw new Error(message.text());
  });
  await page.goto(`${server.url}/#token=${liveToken}&/jobs/${job.id}/migrate`);
  await page.getByTestId('summary').waitFor();
  return page;
}

async function shot(page: Page, name: string): Promise<void> {
  if (shots === undefined) return;
  await mkdir(shots, { recursive: true });
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
}

const text = (page: Page, testId: string): Promise<string> => page.getByTestId(testId).innerText();

/** Points of a chart's canvas that are not empty, by their share of the width. */
async function drawnShare(page: Page, testId: string): Promise<number> {
  return await page.evaluate((id) => {
    const canvas = document.querySelector<HTMLCanvasElement>(`[data-testid="${id}"] canvas`);
    const context = canvas?.getContext('2d');
    if (canvas === null || context === null || context === undefined) return 0;
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let drawn = 0;
    for (let at = 3; at < data.length; at += 4) if ((data[at] ?? 0) > 0) drawn += 1;
    return drawn / (data.length / 4);
  }, testId);
}

describe.skipIf(chromiumPath === null)(`the page of a live job (${chromiumPath ?? noChromium})`, () => {
  test('shows how far behind, what is applied, what the source keeps, and every condition', async () => {
    const job = new ScriptedLiveJob();
    job.history(120);
    const page = await openJob(job);
    await page.getByTestId('lag').waitFor();
    expect(await text(page, 'lag')).toMatch(/12\.0 KiB[\s\S]*0\.1 s/);
    expect(await text(page, 'applied')).toMatch(/1,840\/s\s+182,400 in all[\s\S]*912\/s[\s\S]*41\/s/);
    expect(await text(page, 'slot')).toMatch(/118 MiB[\s\S]*about 5 h 28 min[\s\S]*gives the slot up at 64\.0 GiB/);
    await expect.poll(() => drawnShare(page, 'lag')).toBeGreaterThan(0.02);
    await expect.poll(() => drawnShare(page, 'applied')).toBeGreaterThan(0.01);
    expect(await page.getByTestId('job-state').innerText()).toBe('Following');
    expect(await page.locator('[data-testid^="guardrail-"]').count()).toBe(7);

    job.measure({
      lagBytes: 3 * 1024 ** 3,
      lagSeconds: 95,
      connected: false,
      guardrails: guardrails({
        id: 'long-writes',
        state: 'waits',
        found: 'pid 4711 of shop_batch has been writing for 3 min.',
        remedy: 'Wait for it, or: SELECT pg_terminate_backend(4711)',
      }),
      slot: { ...noSlot, walStatus: 'unreserved', retainedBytes: 9 * 1024 ** 3, lastsSeconds: 220 },
    });
    await expect.poll(() => text(page, 'lag')).toMatch(/3\.00 GiB[\s\S]*1 min 35 s/);
    expect(await text(page, 'lag')).toContain('Connecting to the source again');
    expect(await text(page, 'guardrail-long-writes')).toMatch(/Waits[\s\S]*pid 4711[\s\S]*pg_terminate_backend/);
    expect(await text(page, 'slot')).toMatch(/about 3 min 40 s[\s\S]*about to remove changes/);
    // What stands in the way comes first.
    expect(await page.locator('[data-testid^="guardrail-"]').first().getAttribute('data-state')).toBe('waits');
  });

  test('the cutover asks once, cannot be asked for twice, and shows each step with its time', async () => {
    const job = new ScriptedLiveJob();
    job.history(60);
    let go: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => (go = resolve));
    job.onAct = () => begun;
    const page = await openJob(job);
    await page.getByTestId('action-cutover').click();
    expect(job.acts).toEqual([]);
    expect(await page.getByRole('group', { name: 'Hand over to the target now?' }).innerText()).toContain(
      'not done within 60 seconds',
    );
    await shot(page, 'asking-1440');
    await page.keyboard.press('Escape');
    expect(await page.getByTestId('confirm-cutover').count()).toBe(0);
    const focused = (): Promise<string | null> =>
      page.evaluate(
        () => document.activeElement?.getAttribute('data-testid') ?? document.activeElement?.textContent ?? null,
      );
    await expect.poll(focused).toBe('action-cutover');

    await page.keyboard.press('Enter');
    const confirm = page.getByTestId('confirm-cutover');
    await confirm.waitFor();
    await expect.poll(focused).toBe('Not yet');
    await confirm.dblclick();
    await expect.poll(() => job.acts).toEqual(['cutover']);
    expect(await page.getByTestId('action-cutover').count()).toBe(0);
    expect(await confirm.count()).toBe(0);
    await page.waitForTimeout(300);
    expect(job.acts).toEqual(['cutover']);

    const from = Date.now();
    job.move('cutting_over', { phase: 'cutover' });
    job.measure({ cutover: cutoverSteps(4, from) });
    go();
    await page.getByTestId('timeline').waitFor();
    expect(await text(page, 'step-drain')).toMatch(/to 2A\/7F018C40[\s\S]*264 ms/);
    expect(await page.getByTestId('step-sequences').getAttribute('data-status')).toBe('now');
    expect(await page.getByTestId('step-hand-over').getAttribute('data-status')).toBe('to-come');
    const ticking = async (): Promise<number> =>
      Number(/([\d,]+) ms/.exec(await text(page, 'step-sequences'))?.[1]?.replace(',', ''));
    const before = await ticking();
    await page.waitForTimeout(400);
    expect(await ticking()).toBeGreaterThan(before + 200);
    await shot(page, 'cutting-over-1440');

    const steps = cutoverSteps(plannedSteps.length, from);
    job.measure({ cutover: steps });
    job.move('verifying', { phase: 'verify', summary: 'The target has taken over; comparing both sides.' });
    await expect.poll(() => page.getByTestId('timeline').getAttribute('data-outcome')).toBe('done');
    expect(await page.getByTestId('action-cancel').count()).toBe(0);
    job.complete(840, steps);
    await expect.poll(() => text(page, 'downtime')).toBe('Writers waited 840 ms');
    await page.reload();
    await expect.poll(() => text(page, 'downtime')).toBe('Writers waited 840 ms');
    for (const { step, ms } of plannedSteps) expect(await text(page, `step-${step}`)).toContain(`${ms} ms`);
    await shot(page, 'completed-1440');
  });

  test('a condition that blocks disables the button and says why; a refusal and an undone cutover are told', async () => {
    const job = new ScriptedLiveJob();
    job.history(30);
    const page = await openJob(job);
    const button = page.getByTestId('action-cutover');
    await expect.poll(() => button.isEnabled()).toBe(true);
    await button.click();
    const blocks = guardrails({
      id: 'prepared-transactions',
      state: 'blocks',
      found: 'Transaction "pay-991" has been prepared for 2 h.',
      remedy: "COMMIT PREPARED 'pay-991' or ROLLBACK PREPARED 'pay-991'",
    });
    job.measure({ guardrails: blocks });
    // The question that was open goes with the possibility.
    await expect.poll(() => page.getByTestId('confirm-cutover').count()).toBe(0);
    expect(await button.isDisabled()).toBe(true);
    expect(await text(page, 'cutover')).toMatch(/1 condition blocks it: Transaction "pay-991"/);
    await shot(page, 'blocked-1440');

    job.measure();
    job.onAct = () => {
      throw new PgsluiceError({
        code: 'CUTOVER_NOT_BEGUN',
        message: 'The cutover could not begin within 20 s, and was given up.',
        hint: 'Look at the guardrails and at the log, then ask again.',
      });
    };
    await expect.poll(() => button.isEnabled()).toBe(true);
    await button.click();
    // The browser itself writes a failed request to its console.
    page.removeAllListeners('console');
    await page.getByTestId('confirm-cutover').click();
    await page.getByRole('alert').waitFor();
    expect(await page.getByRole('alert').innerText()).toMatch(/could not begin within 20 s[\s\S]*then ask again/);

    const steps = cutoverSteps(4, Date.now()).slice(0, 4);
    job.move('cutting_over', { phase: 'cutover' });
    job.move('following', { phase: 'follow' });
    job.measure({ cutover: steps });
    await expect.poll(() => page.getByTestId('timeline').getAttribute('data-outcome')).toBe('undone');
    expect(await text(page, 'timeline')).toMatch(/was undone[\s\S]*18 ms[\s\S]*the job follows on/);
    await shot(page, 'undone-1440');
  });

  test('a change of the schema shows the statement to run, and Resume goes on', async () => {
    const job = new ScriptedLiveJob();
    job.history(30);
    const page = await openJob(job);
    job.move('paused', {
      summary: 'Paused: the source has a column that the target lacks. The source stays fully usable.',
      error: {
        code: 'SCHEMA_DRIFT',
        message: 'Column "discount" was added to "shop"."order_item" on the source.',
        hint: 'Run this on the target, then resume the job:\nALTER TABLE "shop"."order_item"\n  ADD COLUMN "discount" numeric(10,2) NOT NULL DEFAULT 0;',
      },
    });
    const paused = page.getByTestId('paused');
    await paused.waitFor();
    expect(await paused.locator('pre').innerText()).toBe(
      'ALTER TABLE "shop"."order_item"\n  ADD COLUMN "discount" numeric(10,2) NOT NULL DEFAULT 0;',
    );
    await shot(page, 'paused-1440');
    job.onAct = () => job.move('following');
    await page.getByTestId('action-resume').click();
    await expect.poll(() => paused.count()).toBe(0);
    expect(job.acts).toEqual(['resume']);
  });

  test('a lost slot is said in plain words', async () => {
    const job = new ScriptedLiveJob();
    job.history(30);
    job.measure({ slot: { ...noSlot, walStatus: 'lost', active: false, retainedBytes: 0, lastsSeconds: null } });
    job.move('failed', {
      summary: 'Failed: the source has removed changes that the target still needs. The source is unchanged.',
      error: {
        code: 'SLOT_LOST',
        message: 'The source has removed WAL that the target still needs, so it cannot be followed any further.',
        hint: 'Start the job again; set max_slot_wal_keep_size higher on the source before.',
      },
    });
    const page = await openJob(job);
    expect(await page.getByRole('alert').innerText()).toContain('cannot be followed any further');
    await expect.poll(() => text(page, 'slot')).toContain('The slot is lost.');
    expect(await page.getByTestId('action-cutover').count()).toBe(0);
    await shot(page, 'lost-1440');
  });

  test('the form makes a live job, and copy stays the first choice', async () => {
    const job = new ScriptedLiveJob();
    const page = await openJob(job);
    await page.goto(page.url().replace(/#.*/, '#/new'));
    await page.getByTestId('method-copy').waitFor();
    expect(await page.getByTestId('method-copy').isChecked()).toBe(true);
    expect(await page.getByTestId('cutover-manual').count()).toBe(0);
    await page.getByTestId('method-live').check();
    await page.getByTestId('cutover-auto').check();
    await page.getByText('More: limits, schema changes, hand-over').click();
    await page.getByTestId('slot-limit').fill('20');
    await page.getByLabel('Carry schema changes over').check();
    await page.getByLabel('Tell this address at the hand-over').fill('https://deploy.example.com/moved');
    await page.getByTestId('source-url').fill('postgres://app@old/shop');
    await page.getByTestId('target-url').fill('postgres://app@new/shop');
    await shot(page, 'form-1440');
    let sent: unknown = null;
    await page.route('**/api/jobs', async (route) => {
      sent = route.request().postDataJSON();
      await route.abort();
    });
    page.removeAllListeners('console');
    await page.getByTestId('run-validation').click();
    await expect.poll(() => sent).not.toBeNull();
    expect(sent).toMatchObject({
      options: {
        method: 'live',
        cutover: 'auto',
        slotLimit: 20 * 1024 ** 3,
        slotWarn: 8 * 1024 ** 3,
        carrySchemaChanges: true,
        handOver: { webhook: 'https://deploy.example.com/moved' },
      },
    });
  });

  test.each([360, 1440])('axe finds nothing serious at %i px, in light and dark, in any state', async (width) => {
    const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
    const job = new ScriptedLiveJob({ options: JobOptions.parse({ method: 'live', cutover: 'auto' }) });
    job.history();
    const page = await openJob(job, { width, bypassCSP: true });
    const look = async (name: string): Promise<void> => {
      for (const colorScheme of schemesAt(width)) {
        await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
        await page.waitForTimeout(250);
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
    await page.getByTestId('lag').waitFor();
    await look('following');
    await page.getByTestId('action-cutover').click();
    await look('question');
    job.measure({
      guardrails: guardrails(
        { id: 'schema-drift', state: 'blocks', found: 'Table shop.visit has a new column.', remedy: 'ALTER TABLE …' },
        { id: 'lag', state: 'waits', found: 'The target is 14 s behind.', remedy: '' },
      ),
      slot: { ...noSlot, walStatus: 'extended', retainedBytes: 9 * 1024 ** 3 },
    });
    await page.getByTestId('action-cutover').waitFor();
    await look('conditions');
    const from = Date.now();
    job.move('cutting_over', {
      phase: 'cutover',
      summary: 'Cutting over: writes on the source wait until the target has taken over.',
    });
    job.measure({ cutover: cutoverSteps(5, from) });
    await page.getByTestId('timeline').waitFor();
    await look('cutting-over');
    job.measure({ cutover: cutoverSteps(plannedSteps.length, from) });
    job.complete(840, cutoverSteps(plannedSteps.length, from));
    await page.getByTestId('downtime').waitFor();
    await look('completed');
    await page.goto(page.url().replace(/#.*/, '#/new'));
    await page.getByTestId('method-live').check();
    await page.getByText('More: limits, schema changes, hand-over').click();
    await look('form');
  });
});

const noSlot = (() => {
  const { slot } = liveProgress();
  if (slot === null) throw new Error('the sample has a slot');
  return slot;
})();
