import { render } from 'preact';
import { App } from './app.tsx';
import { exposeDebugHandle } from './debug.ts';
import { followAddress } from './router.ts';
import { restoreSession } from './session.ts';
import { restoreTheme } from './theme.ts';

restoreTheme();
restoreSession();
followAddress();
exposeDebugHandle();
const root = document.getElementById('app');
if (root) render(<App />, root);
