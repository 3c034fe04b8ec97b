import { useMemo } from 'preact/hooks';
import type { JobView } from '../../../src/contract/job.ts';
import { Actions } from '../components/actions.tsx';
import { Channel } from '../components/channel.tsx';
import { Comparing } from '../components/comparing.tsx';
import { Live } from '../components/live.tsx';
import { LogPanel } from '../components/log-panel.tsx';
import { PausedNote } from '../components/paused.tsx';
import { PhaseLine } from '../components/phase-line.tsx';
import { ProblemNote } from '../components/parts.tsx';
import { ResultCard } from '../components/result-card.tsx';
import { TableList } from '../components/table-list.tsx';
import { Throughput } from '../components/throughput.tsx';
import { Totals } from '../components/totals.tsx';
import { Waiting } from '../components/waiting.tsx';
import type { JobSession } from '../job-session.ts';
import { kindWords } from '../kind-words.ts';
import { liveOf } from '../model.ts';
import { isLive } from '../words.ts';

/** Step 3: what is happening now, table by table, with the log beside it. */
export function MigratePage({ session, job }: { session: JobSession; job: JobView }) {
  // The lists draw themselves when their own data changes; the same elements again let preact pass over them.
  const tables = useMemo(() => <TableList session={session} />, [session]);
  const log = useMemo(() => <LogPanel session={session} />, [session]);
  return (
    <>
      <Hero session={session} job={job} />
      {isLive(job) && job.startedAt !== null && <Live session={session} job={job} />}
      <div class="workbench">
        <div class="workbench-main">
          {tables}
          <Chart session={session} />
        </div>
        {log}
      </div>
    </>
  );
}

function Hero({ session, job }: { session: JobSession; job: JobView }) {
  const model = session.model.value;
  const over = job.state === 'completed' || job.state === 'cancelled' || job.state === 'failed';
  return (
    <>
      <section class="hero card" aria-label="Progress">
        <p class="summary" data-testid="summary">
          {job.summary}
        </p>
        <Channel job={job} fraction={model.fraction} live={liveOf(model)} />
        <Totals job={job} model={model} />
        <PhaseLine job={job} model={model} />
        <Comparing job={job} model={model} />
        <Waiting job={job} model={model} />
        <Actions session={session} job={job} />
      </section>
      {session.actionError.value && <ProblemNote problem={session.actionError.value} />}
      {job.error !== null && job.state === 'paused' && isLive(job) && <PausedNote problem={job.error} />}
      {job.error !== null && (job.state === 'failed' || (job.state === 'paused' && !isLive(job))) && (
        <ProblemNote
          problem={job.error}
          title={`The ${kindWords(job).task} ${job.state === 'failed' ? 'failed' : 'is paused'}`}
        />
      )}
      {over && <ResultCard job={job} model={model} />}
    </>
  );
}

function Chart({ session }: { session: JobSession }) {
  return <Throughput samples={session.model.value.samples} />;
}
