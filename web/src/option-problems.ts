import type { OptionsForm, HookForm, RoleRow } from './job-options.ts';
import { splitLines } from './lines.ts';
import { parseSize } from './size.ts';

/** As the API has it (src/contract/options.ts), in bytes a second. */
const lowestRate = 64 * 1024;

export type OptionProblems = Partial<Record<keyof OptionsForm, string>>;

const wholeNumber = /^\d+$/;

/** What cannot be sent as it is typed, by field. Only what `kind` sends is looked at. */
export function optionsProblems(form: OptionsForm, kind: 'move' | 'export' | 'import' = 'move'): OptionProblems {
  const problems: OptionProblems = {};
  const size = 'A number such as 500, or empty.';
  if (kind !== 'export' && Number.isNaN(parseSize(form.disk, form.diskUnit))) problems.disk = size;
  if (kind === 'move' && Number.isNaN(parseSize(form.splitAbove, form.splitUnit))) problems.splitAbove = size;
  const rate = kind === 'import' ? null : parseSize(form.maxRate, form.rateUnit);
  if (rate !== null && !(rate >= lowestRate)) problems.maxRate = 'A number from 0.1 MB on, or empty.';
  for (const name of kind === 'export' ? (['tableJobs'] as const) : (['tableJobs', 'indexJobs'] as const)) {
    const jobs = Number(form[name]);
    if (!wholeNumber.test(form[name].trim()) || jobs < 1 || jobs > 64) problems[name] = 'A whole number from 1 to 64.';
  }
  if (kind !== 'export') {
    const wrong = form.roleMap.map((_, index) => roleProblem(form.roleMap, index)).find((found) => found !== null);
    if (wrong !== undefined && wrong !== null) problems.roleMap = wrong;
  }
  const hook = form.hooks.map(hookProblem).find((found) => found !== null);
  if (hook !== undefined && hook !== null) problems.hooks = hook;
  return kind === 'move' && form.method === 'live' ? { ...problems, ...liveProblems(form) } : problems;
}

function liveProblems(form: OptionsForm): OptionProblems {
  const problems: OptionProblems = {};
  if (form.what !== 'all') problems.what = 'Following moves schema and rows together.';
  const seconds = Number(form.cutoverTimeout);
  if (!wholeNumber.test(form.cutoverTimeout.trim()) || seconds < 1 || seconds > 3600) {
    problems.cutoverTimeout = 'A whole number of seconds from 1 to 3600.';
  }
  const warn = parseSize(form.slotWarn, form.slotWarnUnit);
  const limit = parseSize(form.slotLimit, form.slotLimitUnit);
  if (warn === null || !(warn >= 1)) problems.slotWarn = 'A number such as 8.';
  if (limit === null || !(limit >= 1)) problems.slotLimit = 'A number such as 64.';
  if (warn !== null && limit !== null && warn > limit) problems.slotWarn = 'It has to be below the limit.';
  if (form.webhook.trim() !== '' && !isWebAddress(form.webhook.trim())) problems.webhook = webAddress;
  return problems;
}

const webAddress = 'An address that begins with https:// or http://.';

function isWebAddress(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
}

/** What is wrong with one row of the role mapping; a row without any text is none. */
export function roleProblem(rows: readonly RoleRow[], index: number): string | null {
  const row = rows[index];
  if (row === undefined) return null;
  const from = row.from.trim();
  const to = row.to.trim();
  if ((from === '') !== (to === '')) return 'Name both: the role of the source and who takes its place.';
  const before = rows.slice(0, index).some((other) => other.from.trim() === from);
  return from !== '' && before ? `${from} is mapped twice.` : null;
}

export function hookProblem(hook: HookForm): string | null {
  if (hook.does === 'webhook') return isWebAddress(hook.webhook.trim()) ? null : webAddress;
  if (splitLines(hook.command).length === 0) return 'Name a program.';
  const seconds = Number(hook.timeout);
  const bounded = wholeNumber.test(hook.timeout.trim()) && seconds >= 1 && seconds <= 86_400;
  return hook.timeout.trim() === '' || bounded ? null : 'The seconds are a whole number from 1 to 86400, or empty.';
}
