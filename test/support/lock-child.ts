import { stdout } from 'node:process';
import { DirectoryLock } from '../../src/store/directory-lock.ts';

// Takes the lock of a directory and keeps it until it is killed.
const [directory = ''] = process.argv.slice(2);
try {
  await DirectoryLock.acquire(directory);
  stdout.write('won\n');
} catch (error) {
  stdout.write(`${(error as { code?: string }).code ?? String(error)}\n`);
}
setInterval(() => undefined, 1_000);
