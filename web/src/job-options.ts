import type { HookMoment, JobKind, JobOptions, JobRequestInput } from '../../src/contract/options.ts';
import { splitLines } from './lines.ts';
import { parseSize, splitSize, type SizeUnit } from './size.ts';

/** An owner or grantee on the source, and who takes its place on the target. */
export interface RoleRow {
  readonly from: string;
  readonly to: string;
}

/** One hook as typed. */
export interface HookForm {
  readonly on: HookMoment;
  readonly does: 'webhook' | 'command';
  readonly webhook: string;
  /** Program and arguments, one a line. */
  readonly command: string;
  /** Seconds the command may take; empty: the agent's own bound. */
  readonly timeout: string;
}

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
  /** A second; empty: no limit. */
  readonly maxRate: string;
  readonly rateUnit: SizeUnit;
  readonly gentle: boolean;
  readonly what: 'all' | 'schema' | 'data';
  readonly includeSchema: string;
  readonly excludeSchema: string;
  readonly includeTable: string;
  readonly excludeTable: string;
  readonly excludeTableData: string;
  readonly noOwner: boolean;
  readonly noAcl: boolean;
  readonly createRoles: boolean;
  readonly roleMap: readonly RoleRow[];
  readonly createDatabase: boolean;
  readonly extensionVersion: 'source' | 'newest';
  readonly excludeExtension: string;
  readonly allowDowngrade: boolean;
  readonly replace: boolean;
  readonly hooks: readonly HookForm[];
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
  maxRate: '',
  rateUnit: 'MB',
  gentle: false,
  what: 'all',
  includeSchema: '',
  excludeSchema: '',
  includeTable: '',
  excludeTable: '',
  excludeTableData: '',
  noOwner: false,
  noAcl: false,
  createRoles: false,
  roleMap: [],
  createDatabase: false,
  extensionVersion: 'source',
  excludeExtension: '',
  allowDowngrade: false,
  replace: false,
  hooks: [],
};

type OptionsInput = NonNullable<JobRequestInput['options']>;

/** What the API is sent: only what has a meaning for the kind of job, so that a hidden field never decides anything. */
export function toOptions(form: OptionsForm, kind: JobKind = 'move'): OptionsInput {
  return {
    ...(kind === 'move' ? moveOptions(form) : {}),
    ...(kind === 'export' ? {} : targetOptions(form)),
    ...(kind === 'import' ? {} : { maxRate: parseSize(form.maxRate, form.rateUnit), gentle: form.gentle }),
    verify: form.verify,
    tableJobs: Number(form.tableJobs),
    includeSchema: splitLines(form.includeSchema),
    excludeSchema: splitLines(form.excludeSchema),
    includeTable: splitLines(form.includeTable),
    excludeTable: splitLines(form.excludeTable),
    excludeTableData: splitLines(form.excludeTableData),
    excludeExtension: splitLines(form.excludeExtension),
    schemaOnly: form.what === 'schema',
    dataOnly: form.what === 'data',
    hooks: form.hooks.map(({ on, does, webhook, command, timeout }) =>
      does === 'webhook'
        ? { on, webhook: webhook.trim() }
        : { on, command: splitLines(command), ...(timeout.trim() === '' ? {} : { timeout: Number(timeout) }) },
    ),
  };
}

function moveOptions(form: OptionsForm): OptionsInput {
  return {
    ...(form.method === 'live' ? liveOptions(form) : { method: 'copy' }),
    splitAbove: parseSize(form.splitAbove, form.splitUnit),
  };
}

function targetOptions(form: OptionsForm): OptionsInput {
  const mapped = form.roleMap.map(({ from, to }) => [from.trim(), to.trim()] as const).filter(([from]) => from !== '');
  return {
    indexJobs: Number(form.indexJobs),
    targetDisk: parseSize(form.disk, form.diskUnit),
    noOwner: form.noOwner,
    noAcl: form.noAcl,
    roles: form.createRoles ? 'create' : 'none',
    mapRole: Object.fromEntries(mapped),
    createDatabase: form.createDatabase,
    extensionVersion: form.extensionVersion,
    allowDowngrade: form.allowDowngrade,
    replace: form.replace,
  };
}

function liveOptions(form: OptionsForm): OptionsInput {
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

/** Stands in a job's view for what of a hook is not shown; it has to be given again. */
const HIDDEN = '***';

function shown(address: string | undefined): string {
  return address === undefined || address.endsWith(`/${HIDDEN}`) ? '' : address;
}

export function fromOptions(options: JobOptions): OptionsForm {
  const disk = options.targetDisk === null ? null : splitSize(options.targetDisk);
  const warn = splitSize(options.slotWarn);
  const limit = splitSize(options.slotLimit);
  const rate = options.maxRate == null ? null : splitSize(options.maxRate);
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
    webhook: shown(options.handOver?.webhook),
    handOverCommand: options.handOver?.command?.includes(HIDDEN) === true ? null : (options.handOver?.command ?? null),
    verify: options.verify,
    tableJobs: String(options.tableJobs),
    indexJobs: String(options.indexJobs),
    splitAbove: split?.text ?? '',
    splitUnit: split?.unit ?? 'GiB',
    maxRate: rate?.text ?? '',
    rateUnit: rate?.unit ?? 'MB',
    gentle: options.gentle ?? false,
    what: options.schemaOnly ? 'schema' : options.dataOnly ? 'data' : 'all',
    includeSchema: options.includeSchema.join('\n'),
    excludeSchema: options.excludeSchema.join('\n'),
    includeTable: options.includeTable.join('\n'),
    excludeTable: options.excludeTable.join('\n'),
    excludeTableData: options.excludeTableData.join('\n'),
    noOwner: options.noOwner,
    noAcl: options.noAcl,
    createRoles: options.roles === 'create',
    roleMap: Object.entries(options.mapRole).map(([from, to]) => ({ from, to })),
    createDatabase: options.createDatabase,
    extensionVersion: options.extensionVersion,
    excludeExtension: options.excludeExtension.join('\n'),
    allowDowngrade: options.allowDowngrade,
    replace: options.replace,
    hooks: options.hooks.map(({ on, webhook, command, timeout }) => ({
      on,
      does: command === undefined ? 'webhook' : 'command',
      webhook: shown(webhook),
      command: command === undefined || command.includes(HIDDEN) ? '' : command.join('\n'),
      timeout: timeout === undefined ? '' : String(timeout),
    })),
  };
}
