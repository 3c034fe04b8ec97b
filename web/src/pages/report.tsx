import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { JobView } from '../../../src/contract/job.ts';
import type { CutoverReport } from '../../../src/contract/live.ts';
import type { Report, Verification } from '../../../src/contract/report.ts';
import { api, toApiError, type ApiError } from '../api.ts';
import { CopyBlock } from '../components/copy-button.tsx';
import { Figure, ProblemNote } from '../components/parts.tsx';
import { Applications } from '../components/result-facts.tsx';
import { Differences } from '../components/result-card.tsx';
import { formatBytes, formatCount, formatDate, formatDuration, formatMoment, formatMs, plural } from '../format.ts';
import { importCommand } from '../../../src/contract/words.ts';
import { kindWords } from '../kind-words.ts';
import { stepWords } from '../live/words.ts';
import { checkKey } from '../model.ts';
import { jobHref } from '../router.ts';
import { fileNameOf, saveFile } from '../save-file.ts';

/** The report on one printable page: what was moved, how long it took, what was checked, what differs, what is left. */
export function ReportPage({ job }: { job: JobView }) {
  const report = useSignal<Report | null>(null);
  const problem = useSignal<ApiError | null>(null);
  useEffect(() => {
    api.report(job.id).then(
      (answer) => (report.value = answer),
      (error: unknown) => (problem.value = toApiError(error)),
    );
  }, [job.id]);
  const save = async (): Promise<void> => {
    try {
      saveFile(await api.reportHtml(job.id), `pgsluice-${fileNameOf(job.name)}.html`);
    } catch (error) {
      problem.value = toApiError(error);
    }
  };
  return (
    <div class="page report">
      <div class="actions no-print">
        <a class="button" href={jobHref(job.id, 'migrate')}>
          Back to the {kindWords(job).task}
        </a>
        <button type="button" class="primary" onClick={() => print()}>
          Print
        </button>
        <button type="button" onClick={() => void save()}>
          Save as a file
        </button>
      </div>
      {problem.value && <ProblemNote problem={problem.value} />}
      {report.value === null && problem.value === null && <p class="muted">Asking the agent for the report…</p>}
      {report.value && <Sheet report={report.value} />}
    </div>
  );
}

function Sheet({ report }: { report: Report }) {
  const { moved, verification, kind = 'move', applications = [], accepted = [] } = report;
  return (
    <article>
      <h1>Report: {report.name}</h1>
      <p class="summary">{verdict(report)}</p>
      <dl class="totals sides">
        <Figure name="Source" value={report.source.label} detail={sideText(report, 'source')} />
        <Figure name="Target" value={report.target.label} detail={sideText(report, 'target')} />
      </dl>
      <dl class="totals">
        {kind === 'move' && <Figure name="Method" value={report.method} />}
        {report.archive?.bytes != null && (
          <Figure name="Size of the archive" value={formatBytes(report.archive.bytes)} />
        )}
        {report.startedAt !== null && <Figure name="Started" value={formatDate(report.startedAt)} />}
        {report.finishedAt !== null && <Figure name="Finished" value={formatDate(report.finishedAt)} />}
        {report.seconds !== null && <Figure name="Took" value={formatDuration(report.seconds)} />}
      </dl>
      {report.error !== null && <ProblemNote problem={report.error} />}
      <h2>What is left to do</h2>
      {report.todo.length === 0 ? (
        <p>Nothing.</p>
      ) : (
        <ul>
          {report.todo.map((sentence) => (
            <li key={sentence}>{sentence}</li>
          ))}
        </ul>
      )}
      {kind === 'export' && report.state === 'completed' && report.archive != null && (
        <>
          <h2>How the archive is loaded</h2>
          <CopyBlock text={importCommand(report.archive.path)} what="the command that imports the archive" />
        </>
      )}
      {applications.length > 0 && (
        <>
          <h2>Whose database it is</h2>
          <Applications found={applications} />
        </>
      )}
      <h2>{movedWords[kind]}</h2>
      <dl class="totals">
        <Figure name="Tables" value={formatCount(moved.tables)} />
        <Figure name="Rows" value={formatCount(moved.rows)} />
        <Figure name="Data" value={formatBytes(moved.bytes)} />
        <Figure name="Indexes" value={formatCount(moved.indexes)} />
        <Figure name="Sequences" value={formatCount(moved.sequences)} />
        <Figure name="Large objects" value={formatCount(moved.largeObjects)} />
      </dl>
      <h2>How long each phase took</h2>
      <table>
        <thead>
          <tr>
            <th scope="col">Phase</th>
            <th scope="col">Started</th>
            <th scope="col" class="numeric">
              Time
            </th>
          </tr>
        </thead>
        <tbody>
          {report.phases.map((phase) => (
            <tr key={phase.startedAt + phase.phase}>
              <td>{phase.phase}</td>
              <td>{formatMoment(phase.startedAt)}</td>
              <td class="numeric">{formatDuration(phase.seconds)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {report.cutover !== null && <CutoverPart cutover={report.cutover} />}
      {verification !== null && <VerificationPart verification={verification} />}
      {accepted.length > 0 && (
        <>
          <h2>Warnings that a person let stand</h2>
          <ul>
            {accepted.map((check) => (
              <li key={checkKey(check)}>
                {check.found}{' '}
                {check.accepted != null && (
                  <span class="muted">
                    Accepted by {check.accepted.by}, {formatMoment(check.accepted.at)}
                    {check.accepted.note !== '' && `: ${check.accepted.note}`}
                  </span>
                )}
              </li>
            ))}
          </ul>
        </>
      )}
      {report.restoreProblems.length > 0 && (
        <>
          <h2>What the target refused</h2>
          <ul>
            {report.restoreProblems.map((entry) => (
              <li key={entry.kind + entry.name}>
                <strong>
                  {entry.kind} {entry.name}
                </strong>
                : {entry.error} {entry.harmless ? `(harmless: ${entry.reason})` : entry.reason}
              </li>
            ))}
          </ul>
        </>
      )}
    </article>
  );
}

function CutoverPart({ cutover }: { cutover: CutoverReport }) {
  return (
    <>
      <h2>How it was cut over</h2>
      <dl class="totals">
        {cutover.downtimeMs !== null && (
          <Figure name="Writers waited" value={formatMs(cutover.downtimeMs)} detail="until the hand-over" />
        )}
        <Figure
          name="Writes were held by"
          value={cutover.fencedBy === 'lock' ? 'locks on every table' : (cutover.fencedBy ?? 'nothing')}
        />
        {cutover.lsn !== null && <Figure name="Followed to" value={cutover.lsn} />}
        <Figure name="Attempts" value={formatCount(cutover.attempts)} />
      </dl>
      <table>
        <thead>
          <tr>
            <th scope="col">Step</th>
            <th scope="col">Found</th>
            <th scope="col" class="numeric">
              Time
            </th>
          </tr>
        </thead>
        <tbody>
          {cutover.steps.map((step) => (
            <tr key={step.step + step.startedAt}>
              <td>{stepWords[step.step]}</td>
              <td>{step.detail}</td>
              <td class="numeric">{step.ms === null ? 'not finished' : formatMs(step.ms)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

const movedWords = { move: 'What was moved', export: 'What was saved', import: 'What was loaded' } as const;

/** Version and place of one side. */
function sideText(report: Report, side: 'source' | 'target'): string {
  const { version } = report[side];
  const place = report.places?.[side] ?? null;
  return `${version === null ? 'version not known' : `PostgreSQL ${version}`}${place === null ? '' : `, ${place}`}`;
}

const endings = {
  move: {
    early: 'The target is not complete.',
    equal: 'the target equals the source in everything that was compared.',
  },
  export: { early: 'There is no archive.', equal: 'the archive was read back and holds what the source counted.' },
  import: {
    early: 'The target is not complete.',
    equal: 'the target equals what the archive says in everything that was compared.',
  },
} as const;

function verdict(report: Report): string {
  const { verification } = report;
  const { early, equal } = endings[report.kind ?? 'move'];
  if (report.state !== 'completed') return `The job is ${report.state}. ${early}`;
  if (verification === null || verification.mode === 'none') return 'Completed. Nothing was compared.';
  if (verification.verified) return `Completed and verified: ${equal}`;
  if (verification.differences.length === 0)
    return 'Completed. Nothing that was compared differs, but not everything could be compared: see below.';
  return `Completed, but ${plural(verification.differences.length, 'difference')} found.`;
}

function VerificationPart({ verification }: { verification: Verification }) {
  return (
    <>
      <h2>What was checked</h2>
      <p>
        {plural(verification.objectsCompared, 'object')} of the catalogue, {plural(verification.tables.length, 'table')}
        , {plural(verification.sequencesCompared, 'sequence')} and{' '}
        {plural(verification.largeObjectsCompared, 'large object')} were compared in{' '}
        {formatDuration(verification.seconds)}.
      </p>
      {verification.differences.length > 0 && (
        <>
          <h3>Differences</h3>
          <Differences differences={verification.differences} all />
        </>
      )}
      {verification.notChecked.length > 0 && (
        <>
          <h3>Not checked</h3>
          <ul>
            {verification.notChecked.map((sentence) => (
              <li key={sentence}>{sentence}</li>
            ))}
          </ul>
        </>
      )}
      <div class="table-scroll" tabIndex={0} role="region" aria-label="Tables compared">
        <table>
          <thead>
            <tr>
              <th scope="col">Table</th>
              <th scope="col" class="numeric">
                Rows of the source
              </th>
              <th scope="col" class="numeric">
                Rows of the target
              </th>
              <th scope="col">Checksum</th>
              <th scope="col">Equal</th>
            </tr>
          </thead>
          <tbody>
            {verification.tables.map((table) => (
              <tr key={`${table.schema}.${table.name}`}>
                <td>
                  {table.schema}.{table.name}
                </td>
                <td class="numeric">{formatCount(table.sourceRows)}</td>
                <td class="numeric">{formatCount(table.targetRows)}</td>
                <td class="mono checksum">{table.sourceChecksum ?? 'not computed'}</td>
                <td>{table.equal ? 'yes' : 'no'}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}
