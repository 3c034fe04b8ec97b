import type { ComponentType, FunctionComponent } from 'preact';
import { useEffect, useState } from 'preact/hooks';

/** A part of the page whose code is fetched when it is first shown; until then, and where that fails, it says so. */
export function lazy<P extends object>(load: () => Promise<ComponentType<P>>): FunctionComponent<P> {
  let loaded: ComponentType<P> | null = null;
  return function Lazy(props: P) {
    const [state, setState] = useState<'loading' | 'ready' | 'failed'>(loaded === null ? 'loading' : 'ready');
    useEffect(() => {
      if (loaded !== null) return;
      let over = false;
      const fetchIt = async (): Promise<void> => {
        try {
          loaded = await load();
          if (!over) setState('ready');
        } catch {
          // Offline, or the agent was upgraded under the page: what stands around it still works.
          if (!over) setState('failed');
        }
      };
      void fetchIt();
      return () => {
        over = true;
      };
    }, []);
    const Part = loaded;
    if (Part !== null) return <Part {...props} />;
    return (
      <p class="muted">
        {state === 'failed' ? 'This part could not be loaded. Reload the page to see it.' : 'Loading…'}
      </p>
    );
  };
}
