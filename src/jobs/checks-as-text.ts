import type { CheckResult } from '../contract/check.ts';

export const checkFormats = ['json', 'csv', 'md'] as const;
export type CheckFormat = (typeof checkFormats)[number];

const columns = [
  'id',
  'family',
  'side',
  'outcome',
  'code',
  'title',
  'found',
  'remedy',
  'elapsed_ms',
  'accepted_by',
  'accepted_at',
  'accepted_note',
] as const;

const cell = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** What a person or a server wrote must not be taken for a formula by a spreadsheet. */
const typed = (text: string): string => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);

/** RFC 4180, with a header line. Pure. */
export function checksAsCsv(checks: readonly CheckResult[]): string {
  const rows = checks.map((c) => [
    c.id,
    c.family,
    c.side,
    c.outcome,
    c.code ?? '',
    c.title,
    typed(c.found),
    typed(c.remedy),
    String(c.elapsedMs),
    typed(c.accepted?.by ?? ''),
    c.accepted?.at ?? '',
    typed(c.accepted?.note ?? ''),
  ]);
  return [columns, ...rows].map((row) => `${row.map(cell).join(',')}\r\n`).join('');
}

/** Without control characters and what changes the direction of writing; line breaks and tabs stay. */
const harmless = (text: string): string =>
  text.replace(/[^\P{Cc}\n\t]|[\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '');

/** Control characters go, what Markdown would read as marks is escaped, on one line. */
const plain = (text: string): string =>
  harmless(text)
    .replaceAll('\t', ' ')
    .replace(/[\\`*_[\]<>|#]/g, '\\$&')
    .replaceAll('\n', ' ');

const groups: readonly (readonly [CheckResult['outcome'], string])[] = [
  ['failed', 'Failed: these stop the job'],
  ['warned', 'Warnings'],
  ['info', 'To know'],
  ['passed', 'Passed'],
  ['skipped', 'Not made'],
];

function section(check: CheckResult): string[] {
  // Longer than any that stands in it.
  const longest = Math.max(2, ...[...check.remedy.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = '`'.repeat(longest + 1);
  const { accepted } = check;
  const note = accepted?.note ?? '';
  return [
    `### ${plain(check.title)}`,
    '',
    `\`${check.id}\`, ${check.side}${check.code === null ? '' : `, ${check.code}`}: ${plain(check.found)}`,
    '',
    ...(accepted === null || accepted === undefined
      ? []
      : [`Accepted by ${plain(accepted.by)} at ${accepted.at}${note === '' ? '.' : `: ${plain(note)}`}`, '']),
    ...(check.remedy === '' ? [] : [`${fence}sql`, harmless(check.remedy), fence, '']),
  ];
}

/** One section a check, the gravest first; passed ones are a list. Pure. */
export function checksAsMarkdown(checks: readonly CheckResult[], title: string): string {
  const lines = [`# ${plain(title)}`, ''];
  for (const [outcome, words] of groups) {
    const those = checks.filter((check) => check.outcome === outcome);
    if (those.length === 0) continue;
    lines.push(`## ${words} (${those.length})`, '');
    if (outcome === 'passed' || outcome === 'skipped')
      lines.push(...those.map((check) => `- \`${check.id}\`, ${check.side}: ${plain(check.found)}`), '');
    else lines.push(...those.flatMap(section));
  }
  return `${lines.join('\n').trimEnd()}\n`;
}
