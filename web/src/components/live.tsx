import { lazy } from '../lazy.tsx';

/** The panel of a job that follows its source; its code is loaded only for such jobs. */
export const Live = lazy(async () => (await import('../live/live-panel.tsx')).LivePanel);
