import { render } from 'preact';
import { App } from './app.tsx';
import { exposeDebugHandle } from './debug.ts';
import { followAddress } from './router.ts';
import { restoreSession } from './session.ts';
import { restoreTheme } from './theme.ts';
import './styles/tokens.css';
import './styles/base.css';
import './styles/components.css';
import './styles/pages.css';
import './styles/migrate.css';
import './styles/print.css';

restoreTheme();
restoreSession();
followAddress();
exposeDebugHandle();
const root = document.getElementById('app');
if (root) render(<App />, root);
