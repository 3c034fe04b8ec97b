import { describe, expect, it } from 'vitest';
import { JobOptions } from '../../src/contract/options.ts';
import { defaultOptions, fromOptions, toOptions } from './job-options.ts';
import { hookProblem, optionsProblems, roleProblem } from './option-problems.ts';
import { parseSize, splitSize } from './size.ts';

describe('options form', () => {
  it('survives the way to the API and back', () => {
    const form = {
      ...defaultOptions,
      disk: '1.5',
      diskUnit: 'TB',
      includeTable: 'public.*\nsales.order_?',
      what: 'schema',
      createRoles: true,
      maxRate: '2.5',
      gentle: true,
    } as const;
    const options = toOptions(form);
    expect(options).toMatchObject({ maxRate: 2.5e6, gentle: true });
    expect(options.targetDisk).toBe(1.5e12);
    expect(options.includeTable).toEqual(['public.*', 'sales.order_?']);
    expect(fromOptions(JobOptions.parse(options))).toEqual(form);
  });

  it('carries roles, extensions and hooks there and back', () => {
    const form = {
      ...defaultOptions,
      roleMap: [
        { from: 'old owner', to: 'new' },
        { from: '__proto__', to: 'b' },
      ],
      createDatabase: true,
      extensionVersion: 'newest',
      excludeExtension: 'pg_cron\nplv8',
      allowDowngrade: true,
      hooks: [
        { on: 'completed', does: 'webhook', webhook: 'https://a.example/b', command: '', timeout: '' },
        { on: 'failed', does: 'command', webhook: '', command: '/bin/tell\n--who', timeout: '30' },
      ],
    } as const;
    const options = JobOptions.parse(toOptions(form));
    expect(options.hooks[1]).toEqual({ on: 'failed', command: ['/bin/tell', '--who'], timeout: 30 });
    expect(options.excludeExtension).toEqual(['pg_cron', 'plv8']);
    const back = fromOptions(options);
    expect(back).toMatchObject({ ...form, roleMap: [{ from: 'old owner', to: 'new' }] });
  });

  it('sends of an export and an import only what has a meaning for them', () => {
    const form = { ...defaultOptions, method: 'live', replace: true, createRoles: true, disk: '5' } as const;
    const saved = toOptions(form, 'export');
    for (const name of ['method', 'replace', 'roles', 'targetDisk', 'indexJobs', 'splitAbove', 'cutover'])
      expect(saved).not.toHaveProperty(name);
    const loaded = toOptions(form, 'import');
    expect(loaded).toMatchObject({ replace: true, roles: 'create', targetDisk: 5e9 });
    for (const name of ['method', 'splitAbove', 'cutover', 'slotLimit']) expect(loaded).not.toHaveProperty(name);
    expect(optionsProblems({ ...form, cutoverTimeout: 'x' }, 'import')).toEqual({});
    const slow = { ...defaultOptions, maxRate: '0.01' };
    expect(optionsProblems(slow, 'export')).toHaveProperty('maxRate');
    expect(optionsProblems(slow, 'import')).toEqual({});
    expect(toOptions(slow, 'import')).not.toHaveProperty('maxRate');
  });

  it('names a role that is mapped twice or to nobody, and a hook that goes nowhere', () => {
    const rows = [
      { from: 'a', to: 'b' },
      { from: ' a ', to: 'c' },
      { from: '', to: 'd' },
      { from: '', to: '' },
    ];
    expect(rows.map((_, index) => roleProblem(rows, index) === null)).toEqual([true, false, false, true]);
    expect(optionsProblems({ ...defaultOptions, roleMap: rows })).toHaveProperty('roleMap');
    const hook = { on: 'failed', does: 'webhook', webhook: 'ftp://x', command: '', timeout: '' } as const;
    expect(hookProblem(hook)).not.toBeNull();
    expect(hookProblem({ ...hook, webhook: 'https://x.example' })).toBeNull();
    expect(hookProblem({ ...hook, does: 'command' })).not.toBeNull();
    expect(hookProblem({ ...hook, does: 'command', command: '/bin/true', timeout: '0' })).not.toBeNull();
    expect(hookProblem({ ...hook, does: 'command', command: '/bin/true' })).toBeNull();
  });

  it('carries every option of a live job there and back', () => {
    const form = {
      ...defaultOptions,
      method: 'live',
      fallBack: true,
      cutover: 'auto',
      cutoverTimeout: '30',
      slotWarn: '500',
      slotWarnUnit: 'MB',
      slotLimit: '2',
      slotLimitUnit: 'GB',
      carrySchemaChanges: true,
      dropLeftovers: true,
      webhook: 'https://deploy.example.com/moved',
      handOverCommand: ['/bin/switch', '--to', 'new'],
    } as const;
    const options = JobOptions.parse(toOptions(form));
    expect(options).toMatchObject({
      method: 'auto',
      cutover: 'auto',
      cutoverTimeout: 30,
      slotWarn: 500e6,
      slotLimit: 2e9,
      carrySchemaChanges: true,
      dropLeftovers: true,
      handOver: { webhook: 'https://deploy.example.com/moved', command: ['/bin/switch', '--to', 'new'] },
    });
    expect(fromOptions(options)).toEqual(form);
    expect(JobOptions.parse(toOptions({ ...form, fallBack: false })).method).toBe('live');
  });

  it('leaves what belongs to following out of a copy, and takes auto without a cutover for one', () => {
    const options = toOptions({ ...defaultOptions, webhook: 'https://a.example', slotLimit: 'nonsense' });
    expect(options).toMatchObject({ method: 'copy' });
    expect(options).not.toHaveProperty('handOver');
    expect(fromOptions(JobOptions.parse({ method: 'auto' }))).toEqual(defaultOptions);
  });

  it('names what is wrong with a live job only where it is one', () => {
    const form = {
      ...defaultOptions,
      what: 'schema',
      cutoverTimeout: '0',
      slotWarn: '9',
      slotLimit: '3',
      webhook: 'mailto:a@b',
    } as const;
    expect(optionsProblems(form)).toEqual({});
    expect(Object.keys(optionsProblems({ ...form, method: 'live' })).toSorted()).toEqual([
      'cutoverTimeout',
      'slotWarn',
      'webhook',
      'what',
    ]);
    expect(optionsProblems({ ...defaultOptions, method: 'live', slotLimit: '' })).toHaveProperty('slotLimit');
  });

  it('reads sizes and refuses what is none', () => {
    expect(parseSize('', 'GB')).toBeNull();
    expect(parseSize('2,5', 'GB')).toBe(2.5e9);
    expect(parseSize('big', 'GB')).toBeNaN();
    expect(splitSize(8 * 1024 ** 3)).toEqual({ text: '8', unit: 'GiB' });
    expect(Object.keys(optionsProblems({ ...defaultOptions, disk: '-1', tableJobs: '0' }))).toEqual([
      'disk',
      'tableJobs',
    ]);
  });
});
