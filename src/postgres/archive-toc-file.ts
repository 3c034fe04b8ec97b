import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Toc, TocEndError, parseToc } from './archive-toc.ts';

/** Bytes that are read at first; a database of thousands of tables has a few MB of it. */
const FIRST_BYTES = 1024 * 1024;

/**
 * The table of contents of a custom-format file, or of a directory. `decode` turns bytes of the archive's encoding into text.
 * @throws TocEndError for a file that ends in the middle of it; as `parseToc` does.
 */
export async function readTocFile(path: string, decode: (bytes: Buffer) => string): Promise<Toc> {
  const directory = (await stat(path)).isDirectory();
  const file = await open(directory ? join(path, 'toc.dat') : path, 'r');
  try {
    const { size } = await file.stat();
    for (let length = Math.min(size, FIRST_BYTES); ; length = Math.min(size, length * 4)) {
      const bytes = Buffer.alloc(length);
      const { bytesRead } = await file.read(bytes, 0, length, 0);
      try {
        return parseToc(bytes.subarray(0, bytesRead), decode);
      } catch (error) {
        if (!(error instanceof TocEndError) || length >= size) throw error;
      }
    }
  } finally {
    await file.close();
  }
}
