import { useEffect, useMemo } from 'preact/hooks';
import { Channel } from '../components/channel.tsx';
import { Connection } from '../components/connection.tsx';
import { LogPanel } from '../components/log-panel.tsx';
import { ProblemNote, StateBadge } from '../components/parts.tsx';
import { PhaseLine } from '../components/phase-line.tsx';
import { TableList } from '../components/table-list.tsx';
import { Totals } from '../components/totals.tsx';
import { Waiting } from '../components/waiting.tsx';
import { closeSession, openSession } from '../job-session.ts';
import { liveOf } from '../model.ts';
import { token } from '../session.ts';
import { stateWord } from '../words.ts';

/** One migration, for somebody who was given a link to it: live, and only to look at. */
export function SharedPage({ id }: { id: string }) {
  useEffect(() => closeSession, []);
  const ended = token.value === null;
  useEffect(() => {
    if (ended) closeSession();
  }, [ended]);
  return ended ? <Ended /> : <Shown id={id} />;
}

function Ended() {
  return (
    <div class="page" data-testid="share-ended">
      <h1>This link has ended</h1>
      <p>
        It shows one migration, and ends some time after that, or when it is taken back. Nothing happened to the
        migration itself.
      </p>
      <p>Ask whoever gave you the link for another one.</p>
    </div>
  );
}

function Shown({ id }: { id: string }) {
  const session = useMemo(() => openSession(id), [id]);
  const tables = useMemo(() => <TableList session={session} />, [session]);
  const log = useMemo(() => <LogPanel session={session} />, [session]);
  const job = session.job.value;
  const problem = session.loadError.value;
  useEffect(() => {
    document.title = job === null ? 'pgsluice' : `${stateWord(job)}: ${job.name} · pgsluice`;
  }, [job]);
  if (job === null) {
    return (
      <div class="page">
        {problem === null ? (
          <p class="muted">Asking the agent for this migration…</p>
        ) : (
          <ProblemNote problem={problem} />
        )}
      </div>
    );
  }
  const model = session.model.value;
  return (
    <div class="page" data-testid="shared">
      <div class="page-head">
        <h1 class="job-name">{job.name}</h1>
        <div class="page-head-end">
          <StateBadge job={job} testId="job-state" />
          <Connection session={session} />
        </div>
      </div>
      <p class="muted">You are watching. Whoever runs the migration steers it; this page changes nothing.</p>
      {problem !== null && <ProblemNote problem={problem} />}
      <section class="hero card" aria-label="Progress">
        <p class="summary" data-testid="summary">
          {job.summary}
        </p>
        <Channel job={job} fraction={model.fraction} live={liveOf(model)} />
        <Totals job={job} model={model} />
        <PhaseLine job={job} model={model} />
        <Waiting job={job} model={model} />
      </section>
      {job.error !== null && job.state === 'failed' && <ProblemNote problem={job.error} title="The migration failed" />}
      <div class="workbench">
        <div class="workbench-main">{tables}</div>
        {log}
      </div>
    </div>
  );
}
