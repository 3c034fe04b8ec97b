import type { JobOptions, JobRequestInput } from '../../src/contract/options.ts';

const sizeUnits = { GB: 1e9, GiB: 1024 ** 3, TB: 1e12, TiB: 1024 ** 4, MB: 1e6 } as const;
export type SizeUnit = keyof typeof sizeUnits;
export const sizeUnitNames = ['MB', 'GB', 'GiB', 'TB', 'TiB'] as const satisfies readonly SizeUnit[];

/** The job's options as the form holds them: numbers and lists as typed. */
export interface OptionsForm {
  readonly disk: string;
  readonly diskUnit: SizeUnit;
  readonly method: 'auto' | 'copy';
  readonly verify: 'none' | 'counts' | 'full';
  readonly tableJobs: string;
  readonly indexJobs: string;
  readonly splitAbove: string;
  readonly splitUnit: SizeUnit;
  readonly what: 'all' | 'schema' | 'data';
  readonly includeSchema: string;
  readonly excludeSchema: string;
  readonly includeTable: string;
  readonly excludeTable: string;
  readonly excludeTableData: string;
  readonly noOwner: boolean;
  readonly noAcl: boolean;
  readonly createRoles: boolean;
  readonly replace: boolean;
}

export const defaultOptions: OptionsForm = {
  disk: '',
  diskUnit: 'GB',
  method: 'auto',
  verify: 'full',
  tableJobs: '4',
  indexJobs: '4',
  splitAbove: '',
  splitUnit: 'GiB',
  what: 'all',
  includeSchema: '',
  excludeSchema: '',
  includeTable: '',
  excludeTable: '',
  excludeTableData: '',
  noOwner: false,
  noAcl: false,
  createRoles: false,
  replace: false,
};

/** Globs, one a line. A comma does not separate: it may stand in a name. */
function globs(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

/** Bytes of a typed size; null when empty, NaN when it is no size. */
export function parseSize(text: string, unit: SizeUnit): number | null {
  if (text.trim() === '') return null;
  const value = Number(text.trim().replace(',', '.'));
  return value >= 0 ? Math.round(value * sizeUnits[unit]) : Number.NaN;
}

/** The largest unit in which the size is written without a long fraction. */
export function splitSize(bytes: number): { readonly text: string; readonly unit: SizeUnit } {
  for (const unit of ['TB', 'TiB', 'GB', 'GiB', 'MB'] as const) {
    const value = bytes / sizeUnits[unit];
    if (value >= 1 && Number.isInteger(value * 100)) return { text: String(value), unit };
  }
  return { text: String(bytes / sizeUnits.MB), unit: 'MB' };
}

export function optionsProblems(form: OptionsForm): Partial<Record<keyof OptionsForm, string>> {
  const problems: Partial<Record<keyof OptionsForm, string>> = {};
  const size = 'A number such as 500, or empty.';
  if (Number.isNaN(parseSize(form.disk, form.diskUnit))) problems.disk = size;
  if (Number.isNaN(parseSize(form.splitAbove, form.splitUnit))) problems.splitAbove = size;
  for (const name of ['tableJobs', 'indexJobs'] as const) {
    const jobs = Number(form[name]);
    if (!/^\d+$/.test(form[name].trim()) || jobs < 1 || jobs > 64) problems[name] = 'A whole number from 1 to 64.';
  }
  return problems;
}

export function toOptions(form: OptionsForm): NonNullable<JobRequestInput['options']> {
  return {
    method: form.method,
    verify: form.verify,
    tableJobs: Number(form.tableJobs),
    indexJobs: Number(form.indexJobs),
    splitAbove: parseSize(form.splitAbove, form.splitUnit),
    targetDisk: parseSize(form.disk, form.diskUnit),
    includeSchema: globs(form.includeSchema),
    excludeSchema: globs(form.excludeSchema),
    includeTable: globs(form.includeTable),
    excludeTable: globs(form.excludeTable),
    excludeTableData: globs(form.excludeTableData),
    noOwner: form.noOwner,
    noAcl: form.noAcl,
    roles: form.createRoles ? 'create' : 'none',
    schemaOnly: form.what === 'schema',
    dataOnly: form.what === 'data',
    replace: form.replace,
  };
}

export function fromOptions(options: JobOptions): OptionsForm {
  const disk = options.targetDisk === null ? null : splitSize(options.targetDisk);
  const split = options.splitAbove === null ? null : splitSize(options.splitAbove);
  return {
    disk: disk?.text ?? '',
    diskUnit: disk?.unit ?? 'GB',
    method: options.method,
    verify: options.verify,
    tableJobs: String(options.tableJobs),
    indexJobs: String(options.indexJobs),
    splitAbove: split?.text ?? '',
    splitUnit: split?.unit ?? 'GiB',
    what: options.schemaOnly ? 'schema' : options.dataOnly ? 'data' : 'all',
    includeSchema: options.includeSchema.join('\n'),
    excludeSchema: options.excludeSchema.join('\n'),
    includeTable: options.includeTable.join('\n'),
    excludeTable: options.excludeTable.join('\n'),
    excludeTableData: options.excludeTableData.join('\n'),
    noOwner: options.noOwner,
    noAcl: options.noAcl,
    createRoles: options.roles === 'create',
    replace: options.replace,
  };
}
