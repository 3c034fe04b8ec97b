import { signal } from '@preact/signals';

const key = 'pgsluice-token';

/** The agent's bearer token, or null when a person has to sign in. Lives as long as the browser tab. */
export const token = signal<string | null>(null);

/** Splits `#token=…` (optionally followed by `&/jobs/…`) into the token and the route that remains. */
export function readTokenFromHash(hash: string): { readonly token: string; readonly rest: string } | null {
  const match = /^#token=([^&]+)(?:&(.*))?$/.exec(hash);
  if (match?.[1] === undefined) return null;
  let value = match[1];
  try {
    value = decodeURIComponent(value);
  } catch {
    // Not percent-encoded: the text stands for itself.
    value = match[1];
  }
  return { token: value, rest: match[2] ? `#${match[2]}` : '#/jobs' };
}

/** Takes the token out of the address bar, so that it is neither bookmarked nor shared, else out of this tab's storage. */
export function restoreSession(): void {
  const found = readTokenFromHash(location.hash);
  if (found) {
    history.replaceState(null, '', `${location.pathname}${location.search}${found.rest}`);
    signIn(found.token);
    return;
  }
  token.value = sessionStorage.getItem(key);
}

export function signIn(value: string): void {
  sessionStorage.setItem(key, value);
  token.value = value;
}

export function signOut(): void {
  sessionStorage.removeItem(key);
  token.value = null;
}

/** The token as WebSocket subprotocols carry it: base64url without padding, since a browser can send no header there. */
export function streamProtocols(value: string): string[] {
  const bytes = new TextEncoder().encode(value);
  const base64 = btoa(String.fromCharCode(...bytes));
  return ['pgsluice', `bearer.${base64.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}`];
}
