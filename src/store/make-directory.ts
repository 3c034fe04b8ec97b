import { chmodSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/**
 * Makes a directory for its owner only, and those above it that are missing, one by one. Node's own recursive mkdir never comes
 * back below a file system that answers ENOENT to a mkdir in a directory that exists, as /proc does: it takes that for a missing
 * parent and begins again.
 * @throws the file system's error.
 */
export function makeDirectory(path: string): void {
  const missing: string[] = [];
  for (let at = path; !isDirectory(at); at = dirname(at)) {
    missing.push(at);
    if (at === dirname(at)) break;
  }
  for (const each of missing.toReversed()) {
    try {
      mkdirSync(each, { mode: 0o700 });
    } catch (error) {
      // Another process may have made it in this moment.
      if (!isDirectory(each)) throw error;
    }
  }
  if (missing.length > 0) chmodSync(path, 0o700);
}
