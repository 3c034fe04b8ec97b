import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { PgsluiceError } from '../errors.ts';

const run = promisify(execFile);

/** The account PostgreSQL runs under; null where the current one will do. */
export interface OrdinaryUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * PostgreSQL refuses to run as root. Root therefore lends it the account `postgres` or, where there is none, `nobody`.
 * @throws PgsluiceError `NO_ORDINARY_USER` when root finds neither.
 */
export async function ordinaryUser(): Promise<OrdinaryUser | null> {
  if (process.getuid?.() !== 0) return null;
  for (const name of ['postgres', 'nobody']) {
    const ids = await Promise.all([idOf('-u', name), idOf('-g', name)]);
    const [uid, gid] = ids;
    if (uid !== null && uid !== undefined && gid !== null && gid !== undefined) return { name, uid, gid };
  }
  throw new PgsluiceError({
    code: 'NO_ORDINARY_USER',
    message: 'PostgreSQL does not run as root, and this machine has neither a user "postgres" nor a user "nobody".',
    hint: 'Run the command as an ordinary user, or create one: useradd --system postgres',
  });
}

async function idOf(flag: '-u' | '-g', name: string): Promise<number | null> {
  try {
    const { stdout } = await run('id', [flag, name]);
    const id = Number.parseInt(stdout.trim(), 10);
    return Number.isInteger(id) ? id : null;
  } catch {
    // `id` exits with 1 for a name the machine does not know.
    return null;
  }
}
