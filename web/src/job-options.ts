import type { JobOptions, JobRequestInput } from '../../src/contract/options.ts';

const sizeUnits = { GB: 1e9, GiB: 1024 ** 3, TB: 1e12, TiB: 1024 ** 4, MB: 1e6 } as const;
export type SizeUnit = keyof typeof sizeUnits;
export const sizeUnitNames = ['MB', 'GB', 'GiB', 'TB', 'TiB'] as const satisfies readonly SizeUnit[];

/** The job's options as the form holds them: numbers and lists as typed. */
export interface OptionsForm {
  readonly disk: string;
  readonly diskUnit: SizeUnit;
  readonly method: 'copy' | 'live';
  /** Copy once where the source cannot be followed: method `auto`. */
  readonly fallBack: boolean;
  readonly cutover: 'auto' | 'manual';
  /** Seconds. */
  readonly cutoverTimeout: string;
  readonly slotWarn: string;
  readonly slotWarnUnit: SizeUnit;
  readonly slotLimit: string;
  readonly slotLimitUnit: SizeUnit;
  readonly carrySchemaChanges: boolean;
  readonly dropLeftovers: boolean;
  readonly webhook: string;
  /** Given on a command line; the page can drop it but makes none. */
  readonly handOverCommand: readonly string[] | null;
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
  method: 'copy',
  fallBack: false,
  cutover: 'manual',
  cutoverTimeout: '60',
  slotWarn: '8',
  slotWarnUnit: 'GiB',
  slotLimit: '64',
  slotLimitUnit: 'GiB',
  carrySchemaChanges: false,
  dropLeftovers: false,
  webhook: '',
  handOverCommand: null,
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
  return form.method === 'live' ? { ...problems, ...liveProblems(form) } : problems;
}

function liveProblems(form: OptionsForm): Partial<Record<keyof OptionsForm, string>> {
  const problems: Partial<Record<keyof OptionsForm, string>> = {};
  if (form.what !== 'all') problems.what = 'Following moves schema and rows together.';
  const seconds = Number(form.cutoverTimeout);
  if (!/^\d+$/.test(form.cutoverTimeout.trim()) || seconds < 1 || seconds > 3600) {
    problems.cutoverTimeout = 'A whole number of seconds from 1 to 3600.';
  }
  const warn = parseSize(form.slotWarn, form.slotWarnUnit);
  const limit = parseSize(form.slotLimit, form.slotLimitUnit);
  if (warn === null || !(warn >= 1)) problems.slotWarn = 'A number such as 8.';
  if (limit === null || !(limit >= 1)) problems.slotLimit = 'A number such as 64.';
  if (warn !== null && limit !== null && warn > limit) problems.slotWarn = 'It has to be below the limit.';
  if (form.webhook.trim() !== '' && !isWebAddress(form.webhook.trim())) {
    problems.webhook = 'An address that begins with https:// or http://.';
  }
  return problems;
}

function isWebAddress(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
}

export function toOptions(form: OptionsForm): NonNullable<JobRequestInput['options']> {
  return {
    ...(form.method === 'live' ? liveOptions(form) : { method: 'copy' }),
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

function liveOptions(form: OptionsForm): NonNullable<JobRequestInput['options']> {
  const webhook = form.webhook.trim();
  const command = form.handOverCommand;
  const handOver = {
    ...(webhook === '' ? {} : { webhook }),
    ...(command === null ? {} : { command: [...command] }),
  };
  return {
    method: form.fallBack ? 'auto' : 'live',
    cutover: form.cutover,
    cutoverTimeout: Number(form.cutoverTimeout),
    slotWarn: parseSize(form.slotWarn, form.slotWarnUnit) ?? undefined,
    slotLimit: parseSize(form.slotLimit, form.slotLimitUnit) ?? undefined,
    carrySchemaChanges: form.carrySchemaChanges,
    dropLeftovers: form.dropLeftovers,
    handOver: Object.keys(handOver).length === 0 ? null : handOver,
  };
}

export function fromOptions(options: JobOptions): OptionsForm {
  const disk = options.targetDisk === null ? null : splitSize(options.targetDisk);
  const warn = splitSize(options.slotWarn);
  const limit = splitSize(options.slotLimit);
  const split = options.splitAbove === null ? null : splitSize(options.splitAbove);
  return {
    disk: disk?.text ?? '',
    diskUnit: disk?.unit ?? 'GB',
    // auto follows only where a cutover was asked for; without one it is a copy.
    method: options.method === 'live' || (options.method === 'auto' && options.cutover !== null) ? 'live' : 'copy',
    fallBack: options.method === 'auto' && options.cutover !== null,
    cutover: options.cutover ?? 'manual',
    cutoverTimeout: String(options.cutoverTimeout),
    slotWarn: warn.text,
    slotWarnUnit: warn.unit,
    slotLimit: limit.text,
    slotLimitUnit: limit.unit,
    carrySchemaChanges: options.carrySchemaChanges,
    dropLeftovers: options.dropLeftovers,
    webhook: options.handOver?.webhook ?? '',
    handOverCommand: options.handOver?.command ?? null,
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
