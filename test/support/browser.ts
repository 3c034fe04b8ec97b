import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import type { Browser } from 'playwright-core';
import { slice } from './long.ts';

/** Where Debian, other distributions and macOS keep a Chromium; nothing is ever downloaded. */
const places = [
  process.env['PGSLUICE_TEST_CHROMIUM'],
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];

export const chromiumPath = places.find((path) => path !== undefined && existsSync(path)) ?? null;
export const noChromium =
  'no Chromium on this machine: install Debian\'s package "chromium", or set PGSLUICE_TEST_CHROMIUM';

export type Scheme = 'light' | 'dark';

/** Colours in which a page of that many px is looked at: both in a long run, else one at each width. */
export function schemesAt(width: number, both: readonly Scheme[] = ['light', 'dark']): readonly Scheme[] {
  return slice(both, (scheme) => both.length === 1 || (scheme === 'dark') === width > 500);
}

export interface TestBrowser {
  readonly browser: Browser;
  close(): Promise<void>;
}

export async function openBrowser(): Promise<TestBrowser> {
  if (chromiumPath === null) throw new Error(noChromium);
  const profile = await mkdtemp(join(tmpdir(), 'pgsluice-test-chromium-'));
  const browser = await chromium.launch({
    executablePath: chromiumPath,
    env: { ...process.env, HOME: profile },
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--disable-dev-shm-usage',
    ],
  });
  return {
    browser,
    close: async () => {
      await browser.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}
