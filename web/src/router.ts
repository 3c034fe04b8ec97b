import { signal } from '@preact/signals';

export type Route =
  | { readonly page: 'jobs' }
  | { readonly page: 'new'; readonly from: string | null }
  | { readonly page: 'group'; readonly id: string }
  | { readonly page: 'job'; readonly id: string; readonly step: 'validate' | 'migrate' | 'report' | null };

/**
 * Reads `#/jobs`, `#/new`, `#/new/from/ID`, `#/groups/ID`, `#/jobs/ID[/validate|/migrate|/report]`; anything else is the
 * job list.
 */
export function parseRoute(hash: string): Route {
  const parts = hash
    .replace(/^#\/?/, '')
    .split('/')
    .map((part) => safeDecode(part));
  const [first, second, third] = parts;
  if (first === 'new') return { page: 'new', from: second === 'from' && third ? third : null };
  if (first === 'groups' && second) return { page: 'group', id: second };
  if (first === 'jobs' && second) {
    const step = third === 'validate' || third === 'migrate' || third === 'report' ? third : null;
    return { page: 'job', id: second, step };
  }
  return { page: 'jobs' };
}

function safeDecode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function jobHref(id: string, step: 'validate' | 'migrate' | 'report'): string {
  return `#/jobs/${encodeURIComponent(id)}/${step}`;
}

export function groupHref(id: string): string {
  return `#/groups/${encodeURIComponent(id)}`;
}

export const route = signal<Route>({ page: 'jobs' });

export function goTo(href: string): void {
  location.hash = href;
}

/** Follows the address bar from now on; each change moves the focus to the page's start, as a page load would. */
export function followAddress(): void {
  route.value = parseRoute(location.hash);
  addEventListener('hashchange', () => {
    route.value = parseRoute(location.hash);
    requestAnimationFrame(() => {
      window.scrollTo(0, 0);
      document.getElementById('main')?.focus({ preventScroll: true });
    });
  });
}
