export interface DemoFlags {
  readonly exit?: true;
  readonly port?: number;
}

/** `pgsluice demo`. Loaded only when asked for: it brings servers along that no other command needs. */
export async function demo(flags: DemoFlags): Promise<number> {
  const { runDemo } = await import('../../demo/demo.ts');
  return runDemo({ exit: flags.exit === true, ...(flags.port === undefined ? {} : { port: flags.port }) });
}
