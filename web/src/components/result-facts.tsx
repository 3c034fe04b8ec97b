import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { JobView } from '../../../src/contract/job.ts';
import type { Application, Report } from '../../../src/contract/report.ts';
import { api, toApiError, type ApiError } from '../api.ts';
import { formatBytes } from '../format.ts';
import { applicationSentence, importCommand } from '../../../src/contract/words.ts';
import { CopyBlock } from './copy-button.tsx';
import { Figure } from './parts.tsx';

/** What only the report knows of a completed job: its archive, the places it ran between, whose database it is. */
export function ResultFacts({ job }: { job: JobView }) {
  const report = useSignal<Report | null>(null);
  const problem = useSignal<ApiError | null>(null);
  useEffect(() => {
    let over = false;
    const read = async (): Promise<void> => {
      try {
        const answer = await api.report(job.id);
        if (!over) report.value = answer;
      } catch (error) {
        if (!over) problem.value = toApiError(error);
      }
    };
    void read();
    return () => {
      over = true;
    };
  }, [job.id, job.finishedAt]);
  const found = report.value;
  const places = found?.places;
  return (
    <>
      {job.archive !== null && <ArchiveFacts job={job} bytes={found?.archive?.bytes ?? null} />}
      {problem.value !== null && <p class="muted">{`The report could not be read: ${problem.value.message}`}</p>}
      {places !== undefined && (places.source !== null || places.target !== null) && (
        <p class="muted" data-testid="places">
          {placeWords(places)}
        </p>
      )}
      <Applications found={found?.applications ?? []} />
    </>
  );
}

function ArchiveFacts({ job, bytes }: { job: JobView; bytes: number | null }) {
  const archive = job.archive ?? '';
  return (
    <div class="archive-facts" data-testid="archive">
      <dl class="totals sides">
        <Figure name="Archive, on the agent’s machine" value={archive} />
        {bytes !== null && <Figure name="Its size" value={formatBytes(bytes)} />}
      </dl>
      {job.kind === 'export' && (
        <>
          <p class="remedy-label">To load it, as soon as the target exists</p>
          <CopyBlock text={importCommand(archive)} what="the command that imports the archive" />
        </>
      )}
    </div>
  );
}

export function placeWords({ source, target }: NonNullable<Report['places']>): string {
  const sides = [
    source === null ? '' : `The source runs on ${source}`,
    target === null ? '' : `the target on ${target}`,
  ];
  const words = sides.filter((side) => side !== '').join(', ');
  return words === '' ? '' : `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;
}

export function Applications({ found }: { found: readonly Application[] }) {
  if (found.length === 0) return null;
  return (
    <ul class="applications" data-testid="applications">
      {found.map((application) => (
        <li key={application.table}>{applicationSentence(application)}</li>
      ))}
    </ul>
  );
}
