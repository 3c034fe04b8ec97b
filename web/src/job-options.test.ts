import { describe, expect, it } from 'vitest';
import { JobOptions } from '../../src/contract/options.ts';
import { defaultOptions, fromOptions, optionsProblems, parseSize, splitSize, toOptions } from './job-options.ts';

describe('options form', () => {
  it('survives the way to the API and back', () => {
    const form = {
      ...defaultOptions,
      disk: '1.5',
      diskUnit: 'TB',
      includeTable: 'public.*\nsales.order_?',
      what: 'schema',
      createRoles: true,
    } as const;
    const options = toOptions(form);
    expect(options.targetDisk).toBe(1.5e12);
    expect(options.includeTable).toEqual(['public.*', 'sales.order_?']);
    expect(fromOptions(JobOptions.parse(options))).toEqual(form);
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
