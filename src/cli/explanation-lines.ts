import type { Explanation } from '../contract/explain.ts';
import { formatBytes, formatCount, formatSeconds, plural } from './format.ts';
import type { Style } from './style.ts';
import { clean, padStart, padTo } from './text.ts';

const NAME_WIDTH = 36;
/** Less is not worth a figure, seconds. */
const NOTHING = 0.05;

const took = (seconds: number): string => (seconds < NOTHING ? '–' : formatSeconds(seconds));

interface Column {
  readonly title: string;
  /** Figures stand to the right. */
  readonly figure: boolean;
  readonly cell: (table: Explanation['longest'][number]) => string;
}

const columns: readonly Column[] = [
  { title: 'TABLE', figure: false, cell: ({ schema, name }) => clean(`${schema}.${name}`) },
  { title: 'SIZE', figure: true, cell: ({ bytes }) => formatBytes(bytes) },
  { title: 'ROWS', figure: true, cell: ({ rows }) => formatCount(rows) },
  { title: 'FORMAT', figure: false, cell: ({ format }) => format },
  { title: 'PIECES', figure: true, cell: ({ pieces }) => String(pieces) },
  { title: 'FREEZE', figure: false, cell: ({ freeze }) => (freeze ? 'yes' : 'no') },
  { title: 'INDEXES', figure: true, cell: ({ indexes }) => String(indexes) },
  { title: 'COPY', figure: true, cell: ({ copySeconds }) => took(copySeconds) },
  { title: 'BUILD', figure: true, cell: ({ buildSeconds }) => took(buildSeconds) },
  { title: 'VERIFY', figure: true, cell: ({ verifySeconds }) => took(verifySeconds) },
];

function tableLines(tables: Explanation['longest'], style: Style): string[] {
  const rows = tables.map((table) => columns.map((column) => column.cell(table)));
  const widths = columns.map((column, at) =>
    Math.min(NAME_WIDTH, Math.max(column.title.length, ...rows.map((row) => row[at]?.length ?? 0))),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, at) =>
        columns[at]?.figure === true ? padStart(cell, widths[at] ?? 0) : padTo(cell, widths[at] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return [style.bold(line(columns.map(({ title }) => title))), ...rows.map(line)];
}

/** The plan of a clone for a person. Pure. */
export function explanationLines(plan: Explanation, style: Style): string[] {
  const what = [
    `${plural(plan.tables, 'table')}${plan.emptyTables > 0 ? ` (${formatCount(plan.emptyTables)} empty)` : ''}`,
    plural(plan.rows, 'row'),
    formatBytes(plan.bytes),
    plan.indexes === 1 ? '1 index or constraint' : `${formatCount(plan.indexes)} indexes and constraints`,
    plural(plan.foreignKeys, 'foreign key'),
    ...(plan.largeObjects.count > 0
      ? [`${plural(plan.largeObjects.count, 'large object')} (${formatBytes(plan.largeObjects.bytes)})`]
      : []),
  ].join(', ');
  const { source, target } = plan.roundTripMs;
  const phaseWidth = Math.max(0, ...plan.phases.map(({ phase }) => phase.length));
  const rest = plan.tables - plan.longest.length;
  return [
    `${clean(plan.source.label)} (${clean(plan.source.version)}, ${source.toFixed(1)} ms a round trip) → ${clean(plan.target.label)} (${clean(plan.target.version)}${target === null ? '' : `, ${target.toFixed(1)} ms`})`,
    `Method ${plan.method}: ${what}.`,
    '',
    style.bold(`About ${formatSeconds(plan.seconds)} in all:`),
    ...plan.phases
      .filter(({ seconds }) => seconds >= NOTHING)
      .map(
        ({ phase, seconds, bound }) =>
          `  ${padTo(phase, phaseWidth)}  ${padStart(formatSeconds(seconds), 9)}  ${clean(bound)}`,
      ),
    '',
    ...(plan.longest.length === 0 ? ['No rows are copied.'] : tableLines(plan.longest, style)),
    ...(rest > 0 ? [`and ${plural(rest, 'more table')}`] : []),
    '',
    `At once: ${plural(plan.atOnce.tables, 'table')}, ${plural(plan.atOnce.indexes, 'build')}; up to ${plural(plan.atOnce.sourceConnections, 'connection')} to the source and ${formatCount(plan.atOnce.targetConnections)} to the target.`,
    ...(plan.settings.length === 0
      ? []
      : [`On the target: ${plan.settings.map(({ name, value }) => `${name} = ${clean(value)}`).join(', ')}.`]),
    ...plan.notes,
    style.green('Nothing was changed on either side.'),
  ];
}
