import type { JobView } from '../../../src/contract/job.ts';
import { formatPercent, formatRemaining, plural } from '../format.ts';
import type { JobModel } from '../model.ts';
import { ProgressBar } from './parts.tsx';

/** How far the comparison is, apart from the figures of the copy: those stay where they ended. */
export function Comparing({ job, model }: { job: JobView; model: JobModel }) {
  const comparing = model.metric?.comparing;
  if (comparing === undefined || job.state !== 'verifying') return null;
  const done = job.kind === 'export' ? 'read back' : 'compared';
  const text = `${formatPercent(comparing.fraction)} ${done}: ${comparing.tablesDone} of ${plural(comparing.tables, 'table')}`;
  return (
    <div class="comparing" data-testid="comparing">
      <ProgressBar fraction={comparing.fraction} label={`Share of the database that is ${done}`} text={text} />
      <p class="muted">{`${text}, time left: ${formatRemaining(model.metric?.remaining ?? null)}`}</p>
    </div>
  );
}
