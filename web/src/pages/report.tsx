import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { JobView } from '../../../src/contract/job.ts';
import type { CutoverReport } from '../../../src/contract/live.ts';
import type { Report, Verification } from '../../../src/contract/report.ts';
import { api, toApiError, type ApiError } from '../api.ts';
import { Figure, ProblemNote } from '../components/parts.tsx';
import { Differences } from '../components/result-card.tsx';
import { formatBytes, formatCount, formatDate, formatDuration, formatMoment, formatMs, plural } from '../format.ts';
import { stepWords } from '../live/words.ts';
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
          Back to the migration
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
  const { moved, verification } = report;
  return (
    <article>
      <h1>Report: {report.name}</h1>
      <p class="summary">{verdict(report)}</p>
      <dl class="totals sides">
        <Figure name="Source" value={report.source.label} detail={versionText(report.source.version)} />
        <Figure name="Target" value={report.target.label} detail={versionText(report.target.version)} />
      </dl>
      <dl class="totals">
        <Figure name="Method" value={report.method} />
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
      <h2>What was moved</h2>
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

function versionText(version: string | null): string {
  return version === null ? 'version not known' : `PostgreSQL ${version}`;
}

function verdict(report: Report): string {
  const { verification } = report;
  if (report.state !== 'completed') return `The job is ${report.state}. The target is not complete.`;
  if (verification === null || verification.mode === 'none') return 'Completed. Nothing was compared.';
  if (verification.verified)
    return 'Completed and verified: the target equals the source in everything that was compared.';
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
