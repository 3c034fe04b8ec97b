import { type Command, InvalidArgumentError, Option } from 'commander';
import { roles } from '../contract/access.ts';
import { createToken, listTokens, revokeToken, shareJob, showAudit } from './commands/access.ts';
import type { Context } from './context.ts';
import { parseDuration } from './duration.ts';

const examples = (...lines: readonly string[]): string =>
  `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}\n`;

const parseLimit = (text: string): number => {
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > 1000) throw new InvalidArgumentError('It must be a whole number from 1 to 1000.');
  return limit;
};

const expires = (description: string): Option => new Option('--expires <time>', description).argParser(parseDuration);

/** `token`, `share` and `audit`: on the daemon that holds the state directory, else on that directory itself. */
export function addAccessCommands(program: Command, context: Context, done: (code: number) => void): void {
  const onState = (command: Command): Command =>
    command
      .option('--server <url>', 'address of an agent, for instance http://127.0.0.1:7432')
      .option('--token <token>', 'a token of role admin (or PGSLUICE_TOKEN)')
      .option('--state <dir|url>', 'where jobs are kept (or PGSLUICE_STATE; default: ~/.pgsluice)')
      .option('--json', 'JSON, one object a line');

  const token = program
    .command('token')
    .summary('create, list and revoke tokens with roles')
    .description(
      'Tokens beside the one that the agent has made for itself. Role view reads, operate also creates and steers jobs, admin also\nmanages tokens, deletes jobs and reads the audit log. Only a hash is kept: a token is shown once.',
    )
    .addHelpText(
      'after',
      examples(
        'pgsluice token create --role view --name grafana --expires 90d',
        'pgsluice token list',
        'pgsluice token revoke k3v9x2m7qa',
      ),
    );
  onState(token.command('create').description('create a token and print it, this once'))
    .addOption(new Option('--role <role>', 'what it may do').choices(roles).makeOptionMandatory())
    .requiredOption('--name <text>', 'who or what uses it; stands in the audit log')
    .addOption(expires('end of its validity, for instance 12h or 30d; without it, until it is revoked'))
    .action(async (flags) => done(await createToken(context, flags)));
  onState(token.command('list').description('list tokens: role, validity, last use')).action(async (flags) =>
    done(await listTokens(context, flags)),
  );
  onState(token.command('revoke').description('end a token; whoever follows a job with it is cut off'))
    .argument('<id>', 'as "pgsluice token list" prints it')
    .action(async (id, flags) => done(await revokeToken(context, id, flags)));

  onState(program.command('share'))
    .summary('make a link that shows one job, read-only, and nothing else')
    .description(
      'Makes a link to the page of one job: its state, tables and log, live and read-only. It names no programs, addresses of hooks or\nusers of the servers, and ends with the job (an hour after it is completed or cancelled), or when it expires or is revoked.',
    )
    .argument('<job>', 'id')
    .addOption(expires('end of its validity').default(7 * 86_400, '7d'))
    .option('--list', 'list the links to this job instead')
    .option('--revoke <id>', 'end this link instead')
    .addHelpText('after', examples('pgsluice share 3f2a --expires 24h', 'pgsluice share 3f2a --list'))
    .action(async (job, flags) => done(await shareJob(context, job, flags)));

  onState(program.command('audit'))
    .summary('print who did what, when and from where')
    .description(
      'Prints the log of what was done to this agent and its jobs: who, from where, what, and what came of it.',
    )
    .addOption(new Option('--limit <n>', 'at most that many, the newest').argParser(parseLimit).default(100))
    .addHelpText('after', examples('pgsluice audit', 'pgsluice audit --limit 1000 --json'))
    .action(async (flags) => done(await showAudit(context, flags)));
}
