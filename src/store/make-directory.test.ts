import { existsSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { prepareDirectory } from './database.ts';
import { makeDirectory } from './make-directory.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pgsluice-directory-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test('every missing directory is made, for its owner only; one that exists is fine', () => {
  const path = join(dir, 'a', 'b', 'c');
  makeDirectory(path);
  makeDirectory(path);
  expect(statSync(path).mode & 0o777).toBe(0o700);
});

test.runIf(existsSync('/proc/self'))('below /proc it is refused at once', { timeout: 5_000 }, () => {
  expect(() => prepareDirectory('/proc/pgsluice-state/deeper')).toThrow(
    expect.objectContaining({ code: 'STATE_DIRECTORY_UNUSABLE', message: expect.stringContaining('/proc/') as string }),
  );
});

test('a file, or a link to nothing, in the way is named', () => {
  writeFileSync(join(dir, 'file'), '');
  symlinkSync(join(dir, 'nowhere'), join(dir, 'link'));
  for (const name of ['file', 'link']) {
    expect(() => prepareDirectory(join(dir, name, 'state'))).toThrow(
      expect.objectContaining({ code: 'STATE_DIRECTORY_UNUSABLE' }),
    );
  }
});
