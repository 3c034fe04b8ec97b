import { stdout } from 'node:process';
import { DirectoryLock } from '../../src/store/directory-lock.ts';

// Takes the lock of a directory and keeps it until it is killed. With more than one directory it comes to each at a moment, ms since
// 1970, that others know as well: `node child.mjs MOMENT EVERY_MS DIRECTORY…`.
async function take(directory: string): Promise<string> {
  try {
    await DirectoryLock.acquire(directory);
    return 'won';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

const [first = '', every = '', ...directories] = process.argv.slice(2);
if (directories.length === 0) stdout.write(`${await take(first)}\n`);
else {
  const ends: string[] = [];
  for (const [at, directory] of directories.entries()) {
    // Spinning, since a timer may be a millisecond late.
    while (Date.now() < Number(first) + at * Number(every));
    ends.push(await take(directory));
  }
  stdout.write(`${JSON.stringify(ends)}\n`);
}
setInterval(() => undefined, 1_000);
