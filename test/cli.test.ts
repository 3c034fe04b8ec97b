import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createOutput, type Output } from '../src/cli/output.ts';
import { main } from '../src/cli/run.ts';
import { RemoteClient } from '../src/cli/remote-client.ts';
import { ResultEvent } from '../src/contract/event.ts';
import { DaemonFile } from '../src/server/token.ts';
import { root } from './support/binaries.ts';
import { type CliOutcome, runCli } from './support/cli.ts';
import { fillState } from './support/fresh-state.ts';
import { long } from './support/long.ts';

// The built command line as a user starts it. No database is needed: what is asked for here ends before one.

const commands = [
  'validate',
  'clone',
  'verify',
  'serve',
  'demo',
  'jobs',
  'show',
  'logs',
  'report',
  'start',
  'resume',
  'retry',
  'pause',
  'cutover',
  'cancel',
  'export',
  'import',
  'token',
  'share',
  'audit',
];

/** What a child writes, without the child, which takes a second of a processor to start: the long run has one for each of these. */
async function runHere(args: readonly string[]): Promise<Pick<CliOutcome, 'code' | 'stdout' | 'stderr' | 'result'>> {
  if (long) return await runCli(args);
  await fillState(here);
  const written = { stdout: '', stderr: '' };
  const silent = createOutput(process, {});
  const output: Output = {
    ...silent,
    tty: false,
    input: null,
    columns: 80,
    rows: 24,
    closed: false,
    out: (text) => void (written.stdout += text),
    err: (text) => void (written.stderr += text),
    flush: () => Promise.resolve(),
  };
  const env = { PATH: process.env['PATH'] ?? '', HOME: here, PGSLUICE_STATE: here };
  const code = await main(args, env, output);
  const stdout = written.stdout.replace(/\n$/, '');
  const last = stdout.split('\n').at(-1) ?? '';
  return {
    code,
    stdout,
    stderr: written.stderr,
    result: last.startsWith('{') ? ResultEvent.parse(JSON.parse(last)) : null,
  };
}

let here: string;
beforeAll(async () => {
  here = await mkdtemp(join(tmpdir(), 'pgsluice-cli-here-'));
});
afterAll(() => rm(here, { recursive: true, force: true }));

describe('help', () => {
  test('names every command, the environment and the exit codes', async () => {
    const { code, stdout, stderr } = await runCli(['--help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const command of [...commands, 'completion']) expect(stdout).toMatch(new RegExp(`^  ${command} `, 'm'));
    for (const name of ['PGSLUICE_SOURCE_URL', 'PGSLUICE_PG_BIN', 'Exit codes:']) expect(stdout).toContain(name);
  });

  test.each(commands)('%s --help has an example', async (command) => {
    const { code, stdout } = await runHere([command, '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: pgsluice ${command}`);
    expect(stdout).toMatch(/Examples:\n(.*\n)*? +(.*)?pgsluice /);
  });

  test('--version is the package version', async () => {
    const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
    expect((await runCli(['--version'])).stdout).toBe(version);
  });
});

describe('wrong usage ends with 2, a code and a hint', () => {
  const source = ['--source', 'postgres://a@127.0.0.1/x'];
  const both = [...source, '--target', 'postgres://a@127.0.0.1/y'];
  const wrong: readonly (readonly [args: string[], code: string])[] = [
    [['frobnicate'], 'USAGE'],
    [['clone', '--frobnicate'], 'USAGE'],
    [['clone', 'extra', ...both], 'USAGE'],
    [['clone', '--explain', '--all-databases', ...both], 'USAGE'],
    [['clone', ...both, '--table-jobs', '0'], 'USAGE'],
    [['clone', ...both, '--table-jobs', 'many'], 'USAGE'],
    [['clone', ...both, '--target-disk', '20 apples'], 'USAGE'],
    [['clone', ...both, '--verify', 'maybe'], 'USAGE'],
    [['clone', ...both, '--include-table', ''], 'USAGE'],
    [['clone', ...both, '--schema-only', '--data-only'], 'USAGE'],
    [['clone', '--source'], 'USAGE'],
    [['clone'], 'SOURCE_MISSING'],
    [['clone', ...source], 'TARGET_MISSING'],
    [['clone', ...both, '--method', 'stream'], 'USAGE'],
    [['clone', ...both, '--method', 'live', '--schema-only'], 'USAGE'],
    [['clone', ...both, '--cutover', 'now'], 'USAGE'],
    [['clone', ...both, '--cutover-timeout', '0'], 'USAGE'],
    [['clone', ...both, '--slot-limit', '0'], 'USAGE'],
    [['clone', ...both, '--slot-warn', '2GiB', '--slot-limit', '1GiB'], 'USAGE'],
    [['clone', ...both, '--hand-over-command', 'switch --to new'], 'USAGE'],
    [['clone', ...both, '--hand-over-webhook', 'ftp://a/b'], 'USAGE'],
    [['cutover'], 'NOTHING_FOLLOWS'],
    [['cutover', 'nosuchjob'], 'JOB_NOT_FOUND'],
    [['validate', '--target', 'postgres://h/d'], 'SOURCE_MISSING'],
    [['verify', ...source], 'TARGET_MISSING'],
    [['serve', '--port', '70000'], 'INVALID_PORT'],
    [['serve', '--token', 'two words'], 'INVALID_TOKEN'],
    [['serve', '--allow-origin', 'example.com'], 'INVALID_ORIGIN'],
    [['pause'], 'USAGE'],
    [['completion', 'csh'], 'USAGE'],
    [['jobs', '--server', 'nowhere'], 'INVALID_SERVER'],
    [['jobs', '--server', 'http://127.0.0.1:9'], 'UNAUTHORIZED'],
    [['jobs', '--server', 'http://127.0.0.1:9', '--token', 't'], 'SERVER_UNREACHABLE'],
  ];
  test.each(wrong)('%j: %s', async (args, expected) => {
    const { code, stdout, stderr } = await runHere(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(`[${expected}]`);
    expect(stderr).toMatch(/^→ \S/m);
    expect(stderr).not.toMatch(/^ {4}at /m);
  });

  test.each([
    [['clone', '--frobnicate'], 'USAGE'],
    [['cutover', 'nosuchjob'], 'JOB_NOT_FOUND'],
  ])('so does a process of its own: %j', async (args, expected) => {
    const { code, stdout, stderr } = await runCli(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(`[${expected}]`);
  });

  test('nothing at all shows the commands', async () => {
    const { code, stderr } = await runCli([]);
    expect(code).toBe(2);
    expect(stderr).toContain('Usage: pgsluice');
  });

  const wrongInJson: readonly (readonly [args: string[], code: string])[] = [
    [['clone', '--json'], 'SOURCE_MISSING'],
    [['clone', '--json', '--frobnicate'], 'USAGE'],
    [['clone', '--json', ...both, '--method', 'stream'], 'USAGE'],
    [['cutover', '--json', 'nosuchjob'], 'JOB_NOT_FOUND'],
    [['clone', '--json', '--source', 'mysql://a/b', '--target', 'postgres://h/d'], 'INVALID_URL'],
    [['resume', '--json'], 'NOTHING_TO_RESUME'],
    [['retry', '--json', 'nosuchjob'], 'JOB_NOT_FOUND'],
  ];
  test.each(wrongInJson)('%j tells the error as the last line', async (args, expected) => {
    const { code, result } = await runHere(args);
    expect(code).toBe(2);
    expect(result).toMatchObject({ status: 'failed', verified: false, error: { code: expected } });
    expect(result?.error?.hint).not.toBe('');
  });

  test('a wrong environment is named', async () => {
    const { code, stderr } = await runCli(['jobs'], { env: { PGSLUICE_PORT: 'seven' } });
    expect(code).toBe(2);
    expect(stderr).toContain('PGSLUICE_PORT');
  });
});

describe('completion', () => {
  test.each(['bash', 'zsh', 'fish'])('%s knows commands, options and choices', async (shell) => {
    const { code, stdout } = await runHere(['completion', shell]);
    expect(code).toBe(0);
    for (const word of [...commands, 'exclude-table-data', 'counts', 'follow']) expect(stdout).toContain(word);
  });

  test.skipIf(!existsSync('/bin/bash'))('bash completes as it is told', async () => {
    const { stdout } = await runCli(['completion', 'bash']);
    const complete = (words: string[]): string[] => {
      const script = `${stdout}\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')})\nCOMP_CWORD=${words.length - 1}\n_pgsluice\nprintf '%s\\n' "\${COMPREPLY[@]}"`;
      const run = spawnSync('/bin/bash', ['-c', script], { encoding: 'utf8' });
      expect(run.stderr).toBe('');
      return run.stdout.trim().split('\n');
    };
    expect(complete(['pgsluice', 'cl'])).toEqual(['clone']);
    expect(complete(['pgsluice', 'clone', '--exclude-table'])).toEqual(['--exclude-table', '--exclude-table-data']);
    expect(complete(['pgsluice', 'clone', '--verify', ''])).toEqual(['none', 'counts', 'full']);
    expect(complete(['pgsluice', 'completion', ''])).toEqual(['bash', 'zsh', 'fish']);
  });
});

test('a closed port blocks validate and verify with 3, is forgotten, and a password in argv is warned of', async () => {
  const state = await mkdtemp(join(tmpdir(), 'pgsluice-cli-'));
  try {
    const port = await closedPort();
    const urls = [
      '--source',
      `postgres://u:hunter2@127.0.0.1:${port}/a`,
      '--target',
      `postgres://u@127.0.0.1:${port}/b`,
    ];
    const { code, result, stdout, stderr } = await runCli(['validate', ...urls, '--json'], { state });
    expect(code).toBe(3);
    expect(result).toMatchObject({ status: 'blocked', error: { code: expect.stringMatching(/^[A-Z_]+$/) } });
    expect(stderr).toContain('PGSLUICE_SOURCE_URL');
    expect(stdout + stderr).not.toContain('hunter2');
    expect((await runCli(['jobs', '--json'], { state })).stdout).toBe('');
    const compared = await runCli(['verify', ...urls, '--json'], { state });
    expect(compared.code).toBe(3);
    expect(compared.result).toMatchObject({ status: 'blocked', verified: false });
  } finally {
    await rm(state, { recursive: true, force: true });
  }
});

describe('the daemon', () => {
  let state: string;
  let child: ChildProcess;
  let printed = '';
  let daemon: DaemonFile;

  beforeAll(async () => {
    state = await mkdtemp(join(tmpdir(), 'pgsluice-daemon-'));
    child = startDaemon(state, (text) => (printed += text));
    daemon = await readDaemon(state);
  });
  afterAll(async () => {
    child.kill('SIGKILL');
    await rm(state, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  });

  test('prints the address with its token once and leaves both to its user alone', async () => {
    await expect.poll(() => printed).toContain(`${daemon.url}/#token=${encodeURIComponent(daemon.token)}`);
    expect((await stat(join(state, 'daemon.json'))).mode & 0o777).toBe(0o600);
    expect(daemon.pid).toBe(child.pid);
    expect((await fetch(`${daemon.url}/api/jobs`)).status).toBe(401);
  });

  test('is found by commands through the state directory, which no second process opens', async () => {
    const port = await closedPort();
    const url = `postgres://u@127.0.0.1:${port}/a`;
    const clone = await runCli(['clone', '--source', url, '--target', `${url}2`, '--name', 'through the daemon'], {
      state,
    });
    expect(clone.code).toBe(3);
    expect(clone.stdout).toContain(`It runs in the agent at ${daemon.url}`);
    const jobs = await new RemoteClient(daemon.url, daemon.token).list();
    expect(jobs.map((job) => job.name)).toEqual(['through the daemon']);

    const id = jobs[0]?.id ?? '';
    const shown = await runCli(['show', id.slice(0, 6)], { state });
    expect(shown.stdout).toContain('through the daemon');
    expect((await runCli(['logs'], { state })).code).toBe(0);
    expect((await runCli(['logs', '-f', id, '--level', 'error', '--json'], { state })).events.length).toBeGreaterThan(
      0,
    );
    expect((await runCli(['pause', id], { state })).stderr).toContain('[INVALID_TRANSITION]');
    expect((await runCli(['cancel', id], { state })).stdout).toContain('is cancelled');
    expect((await runCli(['serve', '--port', '0'], { state })).stderr).toContain('[STATE_DIRECTORY_HELD]');
  });

  test('stops on SIGTERM within 5 s, and says at the next start where its token is', async () => {
    const begun = Date.now();
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect(Date.now() - begun).toBeLessThan(5000);
    expect(existsSync(join(state, 'daemon.json'))).toBe(false);

    let again = '';
    child = startDaemon(state, (text) => (again += text));
    const next = await readDaemon(state);
    expect(next.token).toBe(daemon.token);
    await expect.poll(() => again).toContain(join(state, 'token'));
    expect(again).not.toContain(daemon.token);
    child.kill('SIGINT');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });
});

function startDaemon(state: string, onOutput: (text: string) => void): ChildProcess {
  const child = spawn(process.execPath, [join(root, 'bin/pgsluice.js'), 'serve', '--port', '0'], {
    env: { PATH: process.env['PATH'] ?? '', HOME: state, PGSLUICE_STATE: state },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  child.stdout.setEncoding('utf8').on('data', onOutput);
  return child;
}

async function readDaemon(state: string): Promise<DaemonFile> {
  for (let waited = 0; waited < 60_000 && !existsSync(join(state, 'daemon.json')); waited += 50) await delay(50);
  return DaemonFile.parse(JSON.parse(await readFile(join(state, 'daemon.json'), 'utf8')));
}

async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
