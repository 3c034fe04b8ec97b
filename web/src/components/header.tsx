import { route } from '../router.ts';
import { sharedJob, signOut } from '../session.ts';
import { nextTheme, theme, type Theme } from '../theme.ts';
import { Icon, type IconName } from './icon.tsx';

const themeIcons: Record<Theme, IconName> = { system: 'system', light: 'sun', dark: 'moon' };

export function Header({ signedIn }: { signedIn: boolean }) {
  const page = route.value.page;
  return (
    <header class="site-header">
      <div class="site-header-inner">
        <a class="brand" href={sharedJob.value === null ? '#/jobs' : '#main'}>
          <span class="brand-mark">
            <Icon name="wave" />
          </span>
          pgsluice
        </a>
        {signedIn && (
          <nav aria-label="Pages">
            <a href="#/jobs" aria-current={page === 'jobs' ? 'page' : undefined}>
              Jobs
            </a>
            <a class="wide-only" href="#/new" aria-current={page === 'new' ? 'page' : undefined}>
              New
            </a>
          </nav>
        )}
        <div class="site-header-end">
          <button type="button" class="quiet" data-testid="theme-toggle" onClick={nextTheme}>
            <Icon name={themeIcons[theme.value]} />
            <span class="wide-only">Colours: {theme.value}</span>
            <span class="narrow-only visually-hidden">Colours: {theme.value}</span>
          </button>
          {signedIn && (
            <button type="button" class="quiet" onClick={signOut}>
              Sign out
            </button>
          )}
        </div>
      </div>
    </header>
  );
}
