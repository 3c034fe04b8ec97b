import type { JobSession } from '../job-session.ts';
import { formatDuration } from '../format.ts';
import { useNow } from '../use-now.ts';

/** Whether what the page shows is of this moment. */
export function Connection({ session }: { session: JobSession }) {
  const state = session.connection.value;
  return (
    <span class="connection" data-testid="connection" data-connection={state.kind} role="status">
      <span class="dot" />
      {state.kind === 'connecting' && 'Connecting to the agent…'}
      {state.kind === 'live' && 'Live'}
      {state.kind === 'ended' && 'Finished'}
      {state.kind === 'waiting' && 'Connection lost'}
      {state.kind === 'waiting' && <Retry session={session} retryAt={state.retryAt} since={state.since} />}
    </span>
  );
}

function Retry({ session, retryAt, since }: { session: JobSession; retryAt: number; since: number }) {
  const now = useNow(1000);
  const away = (now - since) / 1000;
  return (
    <>
      <span aria-hidden="true">
        {away > 5 ? ` for ${formatDuration(away)}` : ''}, next try in {Math.max(0, Math.ceil((retryAt - now) / 1000))} s
      </span>
      <button type="button" class="small" onClick={() => session.reconnect()}>
        Try now
      </button>
    </>
  );
}
