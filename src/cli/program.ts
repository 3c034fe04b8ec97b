import { addAccessCommands } from './access-commands.ts';
import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import { LogLevel } from '../contract/event.ts';
import { clone } from './commands/clone.ts';
import { explain } from './commands/explain.ts';
import { exportDatabase } from './commands/export.ts';
import { importArchive } from './commands/import.ts';
import { showActivity } from './commands/activity.ts';
import { showChecks } from './commands/checks.ts';
import { demo } from './commands/demo.ts';
import { cutOver } from './commands/cutover.ts';
import { actOn, goOn, listJobs, showJob, showLogs, showReport } from './commands/jobs.ts';
import { rotateStateKey } from './commands/rotate-key.ts';
import { serve } from './commands/serve.ts';
import { validate } from './commands/validate.ts';
import { verify } from './commands/verify.ts';
import { checkFormats } from '../jobs/checks-as-text.ts';
import { completionScript, completionTree, shells, type Shell } from './completion.ts';
import type { Context } from './context.ts';
import {
  addCopyOptions,
  addEndpoints,
  addFilters,
  addComparison,
  addVerifyMode,
  hideOptions,
} from './endpoint-options.ts';
import { exitCodes } from './exit.ts';
import { addExportOptions } from './export-options.ts';
import { addImportOptions } from './import-options.ts';
import { addKeepOptions } from './keep-options.ts';
import { addGroupOptions } from './group-options.ts';
import { addHookOptions, hookFlags, hookHelp } from './hook-options.ts';
import { addLiveOptions, liveHelp, liveOnlyFlags } from './live-options.ts';
import { parsePort } from './settings.ts';

const exitCodeHelp = `
Exit codes: 0 done and verified, 1 failed, 2 wrong usage or configuration, 3 blocked by a check,
4 done but the target differs, 130 cancelled.`;

const environmentHelp = `
Environment:
  PGSLUICE_SOURCE_URL, PGSLUICE_TARGET_URL   the two databases
  PGSLUICE_STATE        directory of the agent's own state, or a postgres:// URL (default: ~/.pgsluice)
  PGSLUICE_HOST, PGSLUICE_PORT, PGSLUICE_TOKEN   of the daemon
  PGSLUICE_SECRET_KEY   encrypts stored passwords (default: a key file in the state directory)
  PGSLUICE_PG_BIN       folder with pg_dump and pg_restore
  PGSLUICE_HOOK_SECRET  signs the webhooks of --hook (X-Pgsluice-Signature)
  PGSLUICE_ALLOW_HOSTS  servers that jobs may reach: db.example.com:5432,*.example.org,10.0.0.0/8 (default: all)
  PGSLUICE_DENY_PRIVATE 1: no addresses of private networks nor of this machine, unless listed above by range or plain name
  PGSLUICE_ARCHIVE_DIR  folder below which exports and imports stay
  PGSLUICE_ALLOW_CLIENTS, PGSLUICE_TRUST_PROXY, PGSLUICE_TLS_CERT, PGSLUICE_TLS_KEY, PGSLUICE_INSECURE   as options of serve
  PGSLUICE_LOG_LEVEL    debug, info, warn, error or silent`;

const firstSteps = `
First steps:
  export PGSLUICE_SOURCE_URL='postgres://user:password@old.example.com/shop?sslmode=require'
  export PGSLUICE_TARGET_URL='postgres://user:password@new.example.com/shop?sslmode=require'
  pgsluice validate     # looks, changes nothing
  pgsluice clone        # copies, then proves that both sides are equal

Prefer to watch it in a browser?  pgsluice serve
Want to see it on sample data?    pgsluice demo
${environmentHelp}
${exitCodeHelp}`;

const examples = (...lines: readonly string[]): string =>
  `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}\n`;

const parseCount = (text: string): number => {
  const count = /^\d+$/.test(text) ? Number(text) : 0;
  if (count < 1 || count > 100) throw new InvalidArgumentError('It must be a whole number from 1 to 100.');
  return count;
};
const parsePortFlag = (text: string): number => parsePort(text, '--port');
const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

/** The command line; `done` is given the exit code of the command that ran. */
export function buildProgram(context: Context, done: (code: number) => void): Command {
  const program = new Command('pgsluice');
  program
    .description(
      'Moves a PostgreSQL database from one server to another while people watch, and proves that nothing was lost.',
    )
    .version(context.version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .showSuggestionAfterError(true)
    .addHelpText('after', firstSteps);
  program.commandsGroup('Move a database:');
  addMoveCommands(program, context, done);
  addExportCommand(program, context, done);
  addImportCommand(program, context, done);
  program.commandsGroup('Run an agent with a web page:');
  addAgentCommands(program, context, done);
  addAccessCommands(program, context, done);
  program.commandsGroup('Look after jobs:');
  addJobCommands(program, context, done);
  program.commandsGroup('Shell:');
  program.helpCommand('help [command]', 'show help of a command');
  program
    .command('completion')
    .description('print a script that completes commands and options')
    .addArgument(new Argument('<shell>', 'bash, zsh or fish').choices(shells))
    .addHelpText(
      'after',
      examples(
        'source <(pgsluice completion bash)',
        'pgsluice completion zsh > ~/.zfunc/_pgsluice',
        'pgsluice completion fish > ~/.config/fish/completions/pgsluice.fish',
      ),
    )
    .action((shell: Shell) => {
      context.output.out(completionScript(completionTree(program), shell));
      done(exitCodes.done);
    });
  return program;
}

const stateOption = (): Option =>
  new Option('--state <dir|url>', 'where jobs are kept (or PGSLUICE_STATE; default: ~/.pgsluice)');
const jsonOption = (): Option => new Option('--json', 'one JSON object a line; the last one is the result');

const copyingOnly = [
  '--method',
  '--index-jobs',
  '--split-above',
  '--extension-version',
  '--create-database',
  '--replace',
  '--allow-downgrade',
  '--target-disk',
  '--state',
  ...liveOnlyFlags,
  ...hookFlags,
];

function addMoveCommands(program: Command, context: Context, done: (code: number) => void): void {
  const validateCommand = program
    .command('validate')
    .summary('run all checks; changes nothing on either side')
    .description('Runs every check that decides whether a copy can succeed, and changes nothing on either side.');
  addHookOptions(
    addLiveOptions(addVerifyMode(addCopyOptions(addFilters(addGroupOptions(addEndpoints(validateCommand)))))),
  )
    .optionsGroup('Output:')
    .addOption(stateOption())
    .addOption(jsonOption());
  hideOptions(validateCommand, ['--verify', ...hookFlags])
    .addHelpText(
      'after',
      examples(
        'pgsluice validate --source postgres://app@old/shop --target postgres://app@new/shop',
        'pgsluice validate --target-disk 50GB --json | tail -n 1',
      ) + exitCodeHelp,
    )
    .action(async (flags) => done(await validate(context, flags)));

  const cloneCommand = program
    .command('clone')
    .summary('validate, copy and verify one database, in the foreground')
    .description(
      'Copies one database into another: checks first, copies under one snapshot of the source, then compares both sides.\nCtrl-C cancels a copy and says in which state the target is; a live job stays resumable. A clone that was killed goes on with "pgsluice resume".',
    );
  addHookOptions(addLiveOptions(addVerifyMode(addCopyOptions(addFilters(addGroupOptions(addEndpoints(cloneCommand)))))))
    .optionsGroup('Output:')
    .option('--name <text>', 'name of the job in lists')
    .option('--explain', 'check, print the plan and what it is expected to take, and end without touching the target')
    .addOption(stateOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        "export PGSLUICE_SOURCE_URL='postgres://app:secret@old/shop' PGSLUICE_TARGET_URL='postgres://app:secret@new/shop'",
        'pgsluice clone',
        'pgsluice clone --explain                      # the plan and its estimate; changes nothing',
        'pgsluice clone --table-jobs 8 --index-jobs 4',
        "pgsluice clone --exclude-table 'audit.*' --exclude-table-data 'public.sessions'",
        'pgsluice clone --no-owner --no-acl            # to a provider where roles differ',
        'pgsluice clone --replace                      # the target has contents that may go',
        'pgsluice clone --method live --cutover manual # the source stays in use until you say so',
        'pgsluice clone --databases shop,billing      # each into the database of the same name',
        'pgsluice clone --all-databases --create-database',
        'pgsluice clone --json | tail -n 1 | jq .verified',
      ) +
        liveHelp +
        hookHelp +
        exitCodeHelp,
    )
    .action(async (flags) => done(await (flags.explain === true ? explain : clone)(context, flags)));

  const verifyCommand = program
    .command('verify')
    .summary('compare source and target; changes nothing')
    .description(
      'Compares rows, contents, sequences, large objects and every definition of both databases. Both should stand still meanwhile.',
    );
  addHookOptions(
    addLiveOptions(addComparison(addCopyOptions(addFilters(addGroupOptions(addEndpoints(verifyCommand)))))),
  )
    .optionsGroup('Output:')
    .addOption(stateOption())
    .addOption(jsonOption());
  hideOptions(verifyCommand, copyingOnly)
    .addHelpText(
      'after',
      examples('pgsluice verify', 'pgsluice verify --verify counts', 'pgsluice verify --include-schema shop --json') +
        exitCodeHelp,
    )
    .action(async (flags) => done(await verify(context, flags)));
}

function addExportCommand(program: Command, context: Context, done: (code: number) => void): void {
  const command = program
    .command('export')
    .summary('write a database into an archive directory, for providers where both servers never exist at once')
    .description(
      'Writes a directory that pg_restore reads as it is, and a manifest of what the source held: one moment of it, read back before\nthe directory gets its name. Whatever ends it early leaves nothing at that path. Load it with "pgsluice import".',
    )
    .argument('<directory>', 'the archive; must not exist yet, its parent must');
  addHookOptions(addExportOptions(command))
    .optionsGroup('Output:')
    .option('--name <text>', 'name of the job in lists')
    .addOption(stateOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        "export PGSLUICE_SOURCE_URL='postgres://app:secret@old/shop'",
        'pgsluice export /var/backups/shop',
        'pgsluice export shop --compress zstd:9 --table-jobs 8',
        "pgsluice export shop --exclude-table-data 'public.sessions' --json | tail -n 1",
      ) + exitCodeHelp,
    )
    .action(async (path, flags) => done(await exportDatabase(context, path, flags)));
}

function addImportCommand(program: Command, context: Context, done: (code: number) => void): void {
  const command = program
    .command('import')
    .summary('load an archive into a database, and hold it against what the source had')
    .description(
      'Reads a directory made by "pgsluice export" or pg_dump -Fd, or a file made by pg_dump -Fc. It is examined to its last byte before\nthe target is touched; one that is cut or altered is refused.',
    )
    .argument('<archive>', 'directory or custom-format file, on the machine that runs the job');
  addHookOptions(addImportOptions(command))
    .optionsGroup('Output:')
    .option('--name <text>', 'name of the job in lists')
    .addOption(stateOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        "export PGSLUICE_TARGET_URL='postgres://app:secret@new/shop'",
        'pgsluice import /var/backups/shop',
        'pgsluice import shop.dump --no-owner --no-acl   # to a provider where roles differ',
        'pgsluice import shop --roles create --replace',
        'pgsluice import shop --json | tail -n 1 | jq .verified',
      ) + exitCodeHelp,
    )
    .action(async (path, flags) => done(await importArchive(context, path, flags)));
}

function addAgentCommands(program: Command, context: Context, done: (code: number) => void): void {
  const serveCommand = program.command('serve');
  serveCommand
    .summary('run the agent: web page, API and job runner')
    .description('Runs the agent with its web page and API until Ctrl-C or SIGTERM; jobs that run then stay resumable.')
    .option('--host <address>', 'address to listen on (or PGSLUICE_HOST; default: 127.0.0.1)')
    .addOption(
      new Option('--port <n>', 'port, 0 for any free one (or PGSLUICE_PORT; default: 7432)').argParser(parsePortFlag),
    )
    .option('--token <token>', 'token that clients must send (or PGSLUICE_TOKEN; default: made at the first start)')
    .option('--tls-cert <file>', 'PEM certificate chain: serves HTTPS; read again when it changes, and on SIGHUP')
    .option('--tls-key <file>', 'its private key')
    .option('--allow-clients <ranges>', 'addresses that may connect, for instance 10.0.0.0/8,2001:db8::/32')
    .option('--trust-proxy <ranges>', 'proxies whose X-Forwarded-For is believed')
    .option('--insecure', 'listen beyond this machine without TLS: something in front of it encrypts')
    .addOption(new Option('--concurrency <n>', 'jobs that run at once').argParser(parseCount).default(2))
    .option('--allow-commands', 'let jobs name commands that this agent runs, at the hand-over and as hooks')
    .addOption(
      new Option('--allow-origin <origin>', 'let pages of another server use this agent; may be repeated')
        .argParser(collect)
        .default([], 'none'),
    );
  addKeepOptions(serveCommand)
    .addOption(stateOption())
    .addHelpText(
      'after',
      examples(
        'pgsluice serve',
        'pgsluice serve --host 0.0.0.0 --tls-cert chain.pem --tls-key key.pem --allow-clients 10.0.0.0/8',
        'pgsluice serve --host 0.0.0.0 --insecure --trust-proxy 10.0.0.2   # a proxy in front of it has the certificate',
        'pgsluice serve --state postgres://agent:secret@localhost/pgsluice',
      ),
    )
    .action(async (flags) => done(await serve(context, flags)));

  program
    .command('demo')
    .summary('migrate sample data between two throw-away servers')
    .description(
      'Starts two real, throw-away PostgreSQL servers with sample data and the agent, migrates, and leaves the page up until Ctrl-C.',
    )
    .option('--exit', 'stop when the migration has ended')
    .addOption(new Option('--port <n>', 'port of the web page').argParser(parsePortFlag))
    .addHelpText('after', examples('pgsluice demo', 'pgsluice demo --exit'))
    .action(async (flags) => done(await demo(context, flags)));

  program
    .command('rotate-key')
    .summary('seal the stored passwords with another key')
    .description(
      'Seals all passwords of a state anew, in one transaction: with a random key in the place of the key file, or with\nPGSLUICE_SECRET_KEY_NEW. An agent that holds the state directory has to be stopped before.',
    )
    .addOption(stateOption())
    .addHelpText(
      'after',
      examples(
        'pgsluice rotate-key',
        'PGSLUICE_SECRET_KEY_NEW=$(openssl rand -hex 32) pgsluice rotate-key   # keep it: it is PGSLUICE_SECRET_KEY from then on',
      ),
    )
    .action(async (flags) => done(await rotateStateKey(context, flags)));
}

function addJobCommands(program: Command, context: Context, done: (code: number) => void): void {
  const onJobs = (name: string, summary: string): Command =>
    program
      .command(name)
      .summary(summary)
      .description(
        `${summary[0]?.toUpperCase()}${summary.slice(1)}.\nActs on the daemon that holds the state directory, else on that directory itself. A job may be named by the first characters of its id.`,
      )
      .option('--server <url>', 'address of an agent, for instance http://127.0.0.1:7432')
      .option('--token <token>', 'its token (or PGSLUICE_TOKEN)')
      .addOption(stateOption());
  const json = new Option('--json', 'JSON, one object a line');

  onJobs('jobs', 'list all jobs')
    .addOption(json)
    .addHelpText('after', examples('pgsluice jobs', 'pgsluice jobs --json | jq -r .id'))
    .action(async (flags) => done(await listJobs(context, flags)));
  onJobs('show', 'show one job: where it stands, what failed, what to do')
    .argument('[job]', 'id; the newest job when left out')
    .addOption(json)
    .addHelpText('after', examples('pgsluice show', 'pgsluice show 3f2a'))
    .action(async (job, flags) => done(await showJob(context, job, flags)));
  onJobs('logs', 'print the log of a job')
    .argument('[job]', 'id; the newest job when left out')
    .option('-f, --follow', 'go on until the job has ended')
    .addOption(new Option('--level <level>', 'this level and the graver ones').choices(LogLevel.options))
    .option('--search <text>', 'only lines that hold this text')
    .addOption(json)
    .addHelpText(
      'after',
      examples('pgsluice logs -f', 'pgsluice logs 3f2a --level warn', 'pgsluice logs --search orders'),
    )
    .action(async (job, flags) => done(await showLogs(context, job, flags)));
  onJobs('checks', 'show what the validation of a job found; make a check again, or accept a warning')
    .argument('[job]', 'id; the newest job when left out')
    .option('--run <check>', 'make this check again; the job itself stays as it is')
    .option('--accept <check>', 'let this warning stand; it stays visible, with who and when')
    .option('--unaccept <check>', 'take that back')
    .option('--by <name>', 'with --accept: who accepts')
    .option('--note <text>', 'with --accept: why')
    .addOption(new Option('--format <format>', 'how to print them').choices(['text', ...checkFormats]).default('text'))
    .addHelpText(
      'after',
      examples(
        'pgsluice checks',
        'pgsluice checks 3f2a --run privilege.select',
        "pgsluice checks 3f2a --accept server.locale --by Ada --note 'we sort in the application'",
        'pgsluice checks 3f2a --format md > checks.md',
      ),
    )
    .action(async (job, flags) => done(await showChecks(context, job, flags)));
  onJobs('activity', 'show what the sessions of a job run now on both servers, and what they wait for')
    .argument('[job]', 'id; the newest job when left out')
    .addOption(json)
    .addHelpText('after', examples('pgsluice activity', 'watch -n 2 pgsluice activity 3f2a'))
    .action(async (job, flags) => done(await showActivity(context, job, flags)));
  onJobs('report', 'print the report of a job, as JSON or as one HTML page')
    .argument('[job]', 'id; the newest job when left out')
    .option('--html <file>', 'write the printable page there; - for standard output')
    .addHelpText(
      'after',
      examples('pgsluice report | jq .verification.differences', 'pgsluice report 3f2a --html report.html'),
    )
    .action(async (job, flags) => done(await showReport(context, job, flags)));

  const goOnHelp =
    'Without a daemon the job runs in this process and is watched to its end. The id of a group stands for all of its jobs.';
  onJobs('start', 'start a job that is ready')
    .argument('<job>', 'id')
    .option('-f, --follow', 'watch it although a daemon runs it')
    .addOption(jsonOption())
    .addHelpText('after', `\n${goOnHelp}\n${examples('pgsluice start 3f2a')}`)
    .action(async (job, flags) => done(await goOn(context, job, 'start', flags)));
  onJobs('resume', 'go on with an interrupted or paused job')
    .argument('[job]', 'id of a job or group; the newest unfinished job, with its group, when left out')
    .option('-f, --follow', 'watch it although a daemon runs it')
    .addOption(jsonOption())
    .addHelpText('after', `\n${goOnHelp}\n${examples('pgsluice resume', 'pgsluice resume 3f2a')}`)
    .action(async (job, flags) => done(await goOn(context, job, 'resume', flags)));
  onJobs('retry', 'run a failed or blocked job again')
    .argument('<job>', 'id')
    .option('-f, --follow', 'watch it although a daemon runs it')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `\nWhile the daemon still holds the snapshot of the failed copy, only the failed tables are copied.\n${goOnHelp}\n${examples('pgsluice retry 3f2a')}`,
    )
    .action(async (job, flags) => done(await goOn(context, job, 'retry', flags)));
  onJobs('pause', 'stop a running job so that it can go on later')
    .argument('<job>', 'id')
    .addOption(json)
    .addHelpText('after', examples('pgsluice pause 3f2a', 'pgsluice resume 3f2a'))
    .action(async (job, flags) => done(await actOn(context, job, 'pause', flags)));
  onJobs('cutover', 'hand over to the target: for a live job that follows its source')
    .argument('[job]', 'id; the one that follows its source when left out')
    .option('-f, --follow', 'watch the job to its end')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `\nWrites on the source wait until the target has taken over, or until --cutover-timeout of the job is over; then\nall is undone and the job follows on. With --follow the exit code is that of the job.\n${examples('pgsluice cutover', 'pgsluice cutover 3f2a --follow')}`,
    )
    .action(async (job, flags) => done(await cutOver(context, job, flags)));
  onJobs('cancel', 'end a job; its log says in which state the target is')
    .argument('<job>', 'id')
    .addOption(json)
    .addHelpText('after', examples('pgsluice cancel 3f2a'))
    .action(async (job, flags) => done(await actOn(context, job, 'cancel', flags)));
}
