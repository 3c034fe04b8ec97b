import { describe, expect, it } from 'vitest';
import type { JobOptions } from '../../src/contract/options.ts';
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
    expect(fromOptions(options as JobOptions)).toEqual(form);
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
