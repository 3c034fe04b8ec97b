import { CommanderError, type Command } from 'commander';
import { PgsluiceError } from '../errors.ts';
import { readVersion } from './context.ts';
import { emptyResult, exitCodeOf, exitCodes, toErrorView } from './exit.ts';
import type { Output } from './output.ts';
import { limitReach, Reach } from '../reach.ts';
import { buildProgram } from './program.ts';
import { errorLines } from './report-result.ts';
import { readEnvironment } from './settings.ts';
import { clean } from './text.ts';

/**
 * Runs one command. In: arguments without interpreter and script, the environment. Out: the exit code of the contract
 * (0 done and verified, 1 failed, 2 usage, 3 blocked, 4 differences, 130 cancelled). Never throws.
 */
export async function main(argv: readonly string[], env: NodeJS.ProcessEnv, output: Output): Promise<number> {
  // Without commander's help, because the arguments may be what is wrong.
  const end = argv.indexOf('--');
  const json = (end === -1 ? argv : argv.slice(0, end)).includes('--json');
  let code: number = exitCodes.done;
  try {
    const context = { env: readEnvironment(env), output, version: readVersion() };
    limitReach(new Reach(context.env.reach));
    const program = buildProgram(context, (given) => {
      code = given;
    });
    prepare(program, output);
    if (argv.length === 0) {
      output.err(program.helpInformation());
      return exitCodes.usage;
    }
    await program.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return exitCodes.done;
    return fail(output, error instanceof CommanderError ? usageError(error, argv) : error, json, env);
  }
}

/** Every command throws instead of ending the process, and says nothing itself: errors are told in one place. */
function prepare(program: Command, output: Output): void {
  for (const command of withSubcommands(program)) {
    command.exitOverride();
    command.configureOutput({
      writeOut: (text) => output.out(text),
      writeErr: () => undefined,
      getOutHelpWidth: () => Math.min(120, output.columns),
    });
  }
}

function withSubcommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(withSubcommands)];
}

function usageError(error: CommanderError, argv: readonly string[]): PgsluiceError {
  const message = error.message.replace(/^error: /, '').trim();
  const [command] = argv.filter((word) => !word.startsWith('-'));
  const known = error.code !== 'commander.unknownCommand' && command !== undefined;
  const sentence = message.startsWith('(') || message === '' ? 'A command is missing.' : message;
  return new PgsluiceError({
    code: 'USAGE',
    message: `${sentence[0]?.toUpperCase() ?? ''}${sentence.slice(1)}`,
    hint: `See: pgsluice ${known ? `${clean(command)} ` : ''}--help`,
  });
}

function fail(output: Output, error: unknown, json: boolean, env: NodeJS.ProcessEnv): number {
  const view = toErrorView(error);
  const code = exitCodeOf(error);
  output.err(
    errorLines(view, output.errStyle)
      .map((line) => `${line}\n`)
      .join(''),
  );
  if (env['PGSLUICE_LOG_LEVEL']?.toLowerCase() === 'debug' && error instanceof Error) output.err(`${stackOf(error)}\n`);
  if (json) output.out(`${JSON.stringify(emptyResult(code === exitCodes.cancelled ? 'cancelled' : 'failed', view))}\n`);
  return code;
}

function stackOf(error: Error): string {
  const cause = error.cause instanceof Error ? `\nCaused by: ${stackOf(error.cause)}` : '';
  return `${error.stack ?? error.message}${cause}`;
}
