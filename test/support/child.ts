import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'vite';

/** A TypeScript file of test/support, bundled so that plain node runs it as a process of its own. */
export interface ChildProgram {
  start(args: readonly string[]): Child;
  remove(): Promise<void>;
}

export interface Child {
  readonly process: ChildProcess;
  /** The next line that the child prints. */
  line(): Promise<string>;
  /** Kills it without warning and waits for its end. */
  kill9(): Promise<void>;
}

export async function compileChild(file: string): Promise<ChildProgram> {
  const root = join(import.meta.dirname, '..', '..');
  // Inside node_modules, so that the bundle finds the packages it leaves out.
  const outDir = await mkdtemp(join(root, 'node_modules', '.pgsluice-child-'));
  await build({
    root,
    configFile: false,
    logLevel: 'error',
    build: { ssr: join(import.meta.dirname, file), outDir, rollupOptions: { output: { entryFileNames: 'child.mjs' } } },
  });
  const children: ChildProcess[] = [];
  return {
    start: (args) => {
      const child = spawn(process.execPath, [join(outDir, 'child.mjs'), ...args], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      children.push(child);
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      return {
        process: child,
        line: async () => {
          const next = await lines.next();
          return next.done === true ? '(ended)' : next.value;
        },
        kill9: async () => {
          child.kill('SIGKILL');
          await ended;
        },
      };
    },
    remove: async () => {
      for (const child of children) child.kill('SIGKILL');
      await rm(outDir, { recursive: true, force: true });
    },
  };
}
