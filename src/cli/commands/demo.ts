import type { Context } from '../context.ts';

export interface DemoFlags {
  readonly exit?: true;
  readonly port?: number;
}

/** `pgsluice demo`. Loaded only when asked for: it brings servers along that no other command needs. */
export async function demo({ version }: Context, flags: DemoFlags): Promise<number> {
  const { runDemo } = await import('../../demo/demo.ts');
  return runDemo({ exit: flags.exit === true, version, ...(flags.port === undefined ? {} : { port: flags.port }) });
}
