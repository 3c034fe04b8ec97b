import type { Difference, Report, TableVerification, Verification } from '../contract/report.ts';
import { estimateSentence } from '../contract/estimate-words.ts';
import { applicationSentence } from '../contract/words.ts';
import { REPORT_STYLE } from './report-style.ts';
import { importLine, movedTitle, verdictOf } from './report-words.ts';
import { readableName } from './tables.ts';

/** Text as HTML. Control characters, which HTML forbids, and those that change the direction of writing are made visible. */
export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
    .replaceAll('\r\n', '\n')
    .replace(/[^\P{Cc}\t\n]|[\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '\ufffd');
}

const count = (value: number): string => value.toLocaleString('en-US');

export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${count(bytes)} ${bytes === 1 ? 'byte' : 'bytes'}` : `${value.toFixed(1)} ${units[unit]}`;
}

export function formatSeconds(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  return hours > 0 ? `${hours} h ${minutes} min ${rest} s` : `${minutes} min ${rest} s`;
}

/** `2026-11-21T09:30:00.000Z` as `2026-11-21 09:30:00 UTC`. */
function formatMoment(iso: string | null): string {
  if (iso === null) return 'not yet';
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? iso : `${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

function fact(term: string, value: string): string {
  return `<div><dt>${escapeHtml(term)}</dt><dd>${escapeHtml(value)}</dd></div>`;
}

interface Column<T> {
  readonly title: string;
  /** HTML of the cell, already escaped. */
  readonly cell: (row: T) => string;
  readonly number?: boolean;
}

function table<T>(caption: string, columns: readonly Column<T>[], rows: readonly T[]): string {
  const style = (column: Column<T>): string => (column.number === true ? ' class="number"' : '');
  const head = columns.map((column) => `<th scope="col"${style(column)}>${escapeHtml(column.title)}</th>`).join('');
  const body = rows
    .map((row) => `<tr>${columns.map((column) => `<td${style(column)}>${column.cell(row)}</td>`).join('')}</tr>`)
    .join('\n');
  return `<div class="scroll"><table><caption>${escapeHtml(caption)}</caption><thead><tr>${head}</tr></thead><tbody>\n${body}\n</tbody></table></div>`;
}

function list(items: readonly string[]): string {
  return `<ul>${items.map((item) => `<li>${escapeHtml(item)}</li>`).join('')}</ul>`;
}

function section(title: string, ...content: readonly string[]): string {
  return `<section><h2>${escapeHtml(title)}</h2>\n${content.join('\n')}\n</section>`;
}

function phases(report: Report): string {
  if (report.phases.length === 0) return '<p class="soft">No phase has ended yet.</p>';
  return table(
    'Phases in the order they ran; some run beside each other, so they need not add up to the whole.',
    [
      { title: 'Phase', cell: (phase) => escapeHtml(phase.phase) },
      { title: 'Took', number: true, cell: (phase) => escapeHtml(formatSeconds(phase.seconds)) },
      { title: 'From', number: true, cell: (phase) => escapeHtml(formatMoment(phase.startedAt)) },
      { title: 'To', number: true, cell: (phase) => escapeHtml(formatMoment(phase.finishedAt)) },
    ],
    report.phases,
  );
}

function estimate({ estimate: found }: Report): string {
  if (found === undefined) return '';
  const both = (took: number, expected: number): string =>
    `${formatSeconds(took)}, estimated ${formatSeconds(expected)}`;
  const parts = found.phases.filter((phase) => phase.measuredSeconds >= 0.05 || phase.estimatedSeconds >= 0.05);
  const each = parts.map((phase) => `${phase.phase} ${both(phase.measuredSeconds, phase.estimatedSeconds)}`).join('; ');
  return `<p class="soft">${escapeHtml(`${estimateSentence(found)} ${each}${each === '' ? '' : '.'}`.trim())}</p>`;
}

function definition(text: string | null): string {
  return text === null ? '<span class="soft">nothing</span>' : `<pre>${escapeHtml(text)}</pre>`;
}

function differences(found: readonly Difference[]): string {
  if (found.length === 0) return '<p>None was found.</p>';
  return table(
    `${count(found.length)} in all. “missing” is on the source only, “extra” on the target only.`,
    [
      { title: 'Kind', cell: (one) => escapeHtml(one.kind) },
      { title: 'Name', cell: (one) => escapeHtml(one.name) },
      { title: 'Change', cell: (one) => `<strong class="bad">${escapeHtml(one.change)}</strong>` },
      { title: 'Source', cell: (one) => definition(one.source) },
      { title: 'Target', cell: (one) => definition(one.target) },
    ],
    found,
  );
}

function tables(found: readonly TableVerification[]): string {
  if (found.length === 0) return '<p class="soft">No table was compared.</p>';
  return table(
    'Rows were counted exactly on both servers; a checksum covers every column of every row, whatever their order.',
    [
      { title: 'Table', cell: (one) => escapeHtml(readableName(one.schema, one.name)) },
      { title: 'Source rows', number: true, cell: (one) => count(one.sourceRows) },
      { title: 'Target rows', number: true, cell: (one) => count(one.targetRows) },
      { title: 'Checksum', cell: checksum },
      {
        title: 'Result',
        cell: (one) => (one.equal ? '<span class="good">equal</span>' : '<strong class="bad">different</strong>'),
      },
      { title: 'Took', number: true, cell: (one) => escapeHtml(formatSeconds(one.seconds)) },
    ],
    found,
  );
}

function checksum(one: TableVerification): string {
  if (one.sourceChecksum === null) return '<span class="soft">not computed</span>';
  if (one.sourceChecksum === one.targetChecksum) return escapeHtml(one.sourceChecksum);
  return `source ${escapeHtml(one.sourceChecksum)}<br>target ${escapeHtml(one.targetChecksum ?? 'none')}`;
}

function verified(verification: Verification | null): string[] {
  if (verification === null || verification.mode === 'none') {
    return [section('What was checked', '<p>Nothing: the two databases were not compared.</p>')];
  }
  return [
    section('What differs', differences(verification.differences)),
    section(
      'What was checked',
      `<dl class="facts">${[
        fact('Objects of the catalogue', count(verification.objectsCompared)),
        fact('Tables', count(verification.tables.length)),
        fact('Sequences', count(verification.sequencesCompared)),
        fact('Large objects', count(verification.largeObjectsCompared)),
        fact('Depth', verification.mode === 'full' ? 'counts and contents' : 'counts only'),
        fact('Took', formatSeconds(verification.seconds)),
      ].join('')}</dl>`,
      tables(verification.tables),
    ),
    section(
      'What was not checked',
      verification.notChecked.length === 0 ? '<p>Nothing was left out.</p>' : list(verification.notChecked),
    ),
  ];
}

function restoreProblems(report: Report): string {
  if (report.restoreProblems.length === 0) return '';
  return section(
    'Statements the target refused',
    table(
      'Each with what it means.',
      [
        { title: 'Object', cell: (one) => escapeHtml(`${one.kind} ${one.name}`) },
        {
          title: 'Meaning',
          cell: (one) =>
            `${one.harmless ? '<span class="good">harmless</span>' : '<strong class="bad">not restored</strong>'}: ${escapeHtml(one.reason)}`,
        },
        { title: 'Error', cell: (one) => escapeHtml(one.error) },
        { title: 'Statement', cell: (one) => definition(one.statement) },
      ],
      report.restoreProblems,
    ),
  );
}

/** How the job moved the database, or how large the archive is that stands in the place of a server. */
function method({ kind = 'move', method: how, archive }: Report): string {
  if (kind === 'move') return fact('Method', how);
  return archive?.bytes == null ? '' : fact('Size of the archive', formatBytes(archive.bytes));
}

function howToImport(report: Report): string {
  const line = importLine(report);
  return line === null ? '' : section('How the archive is loaded', `<pre>${escapeHtml(line)}</pre>`);
}

function applications({ applications: found = [] }: Report): string {
  return found.length === 0 ? '' : section('Whose database it is', list(found.map(applicationSentence)));
}

function accepted({ accepted: checks = [] }: Report): string {
  if (checks.length === 0) return '';
  const words = checks.map(
    (check) =>
      `${check.title} ${check.found} Accepted by ${check.accepted?.by ?? ''} at ${formatMoment(check.accepted?.at ?? null)}${(check.accepted?.note ?? '') === '' ? '.' : `: ${check.accepted?.note ?? ''}`}`,
  );
  return section('Warnings that a person let stand', list(words));
}

/**
 * The report as one printable page: no script, no request to anywhere, readable in light, dark and on paper. Every text that
 * came from a database or a person is escaped.
 */
export function reportHtml(report: Report): string {
  const verdict = verdictOf(report);
  const side = (term: string, name: 'source' | 'target'): string => {
    const { label, version } = report[name];
    const place = report.places?.[name] ?? null;
    const known = [label, version === null ? '' : `PostgreSQL ${version}`, place === null ? '' : `on ${place}`];
    return fact(term, known.filter((part) => part !== '').join(', '));
  };
  const body = [
    `<header><h1>${escapeHtml(report.name)}</h1>`,
    `<p class="soft">Report of pgsluice on job ${escapeHtml(report.jobId)}, state ${escapeHtml(report.state)}</p>`,
    `<p class="verdict ${verdict.tone}" role="status">${escapeHtml(verdict.sentence)}</p></header>`,
    section(
      'Still to do',
      report.todo.length === 0 ? '<p>Nothing is known to be left for a person to do.</p>' : list(report.todo),
    ),
    howToImport(report),
    section(
      movedTitle(report),
      `<dl class="facts">${side('Source', 'source')}${side('Target', 'target')}${method(report)}</dl>`,
      `<dl class="facts">${[
        fact('Tables', count(report.moved.tables)),
        fact('Rows', count(report.moved.rows)),
        fact('Data', formatBytes(report.moved.bytes)),
        fact('Indexes and constraints', count(report.moved.indexes)),
        fact('Sequences', count(report.moved.sequences)),
        fact('Large objects', count(report.moved.largeObjects)),
      ].join('')}</dl>`,
    ),
    section(
      'How long it took',
      `<p>From ${escapeHtml(formatMoment(report.startedAt))} to ${escapeHtml(formatMoment(report.finishedAt))}${
        report.seconds === null ? '' : `, ${escapeHtml(formatSeconds(report.seconds))} in all`
      }.</p>`,
      phases(report),
      estimate(report),
    ),
    ...verified(report.verification),
    restoreProblems(report),
    applications(report),
    accepted(report),
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="robots" content="noindex">
<title>${escapeHtml(report.name)} · pgsluice report</title>
<style>${REPORT_STYLE}</style>
</head>
<body>
<main>
${body.filter((part) => part !== '').join('\n')}
</main>
</body>
</html>
`;
}
