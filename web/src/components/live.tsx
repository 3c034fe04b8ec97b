import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { JobView } from '../../../src/contract/job.ts';
import type { JobSession } from '../job-session.ts';

type Panel = ComponentType<{ session: JobSession; job: JobView }>;

/** The panel of a job that follows its source; its code is loaded only for such jobs. */
export function Live({ session, job }: { session: JobSession; job: JobView }) {
  const [loaded, setLoaded] = useState<{ panel: Panel } | null>(null);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    let over = false;
    const load = async (): Promise<void> => {
      try {
        const { LivePanel } = await import('../live/live-panel.tsx');
        if (!over) setLoaded({ panel: LivePanel });
      } catch {
        // Offline, or the agent was upgraded under the page: the sentence above and the actions still stand.
        if (!over) setFailed(true);
      }
    };
    void load();
    return () => {
      over = true;
    };
  }, []);
  if (loaded) return <loaded.panel session={session} job={job} />;
  return <p class="muted">{failed ? 'This part could not be loaded. Reload the page to see it.' : 'Loading…'}</p>;
}
