import { signal } from '@preact/signals';

const key = 'pgsluice-token';
const shareKey = 'pgsluice-share';

/** The agent's bearer token, or null when a person has to sign in. Lives as long as the browser tab. */
export const token = signal<string | null>(null);

/** The one job that this tab was given a link to; null for everybody else. Stays when the link has ended. */
export const sharedJob = signal<string | null>(null);

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

/** Splits `#share=…&/jobs/ID` into the link's token and the job it shows. */
export function readShareFromHash(hash: string): { readonly token: string; readonly job: string } | null {
  const match = /^#share=([\w-]+)&\/jobs\/([\w-]+)$/.exec(hash);
  return match?.[1] === undefined || match[2] === undefined ? null : { token: match[1], job: match[2] };
}

/** Takes the token out of the address bar, so that it is neither bookmarked nor shared, else out of this tab's storage. */
export function restoreSession(): void {
  const share = readShareFromHash(location.hash);
  if (share) {
    history.replaceState(null, '', `${location.pathname}${location.search}`);
    sessionStorage.removeItem(key);
    sessionStorage.setItem(shareKey, JSON.stringify([share.token, share.job]));
  }
  const found = readTokenFromHash(location.hash);
  if (found) {
    history.replaceState(null, '', `${location.pathname}${location.search}${found.rest}`);
    signIn(found.token);
    return;
  }
  token.value = sessionStorage.getItem(key);
  const kept = token.value === null ? sessionStorage.getItem(shareKey) : null;
  if (kept === null) return;
  const [value, job] = JSON.parse(kept) as [string, string];
  token.value = value;
  sharedJob.value = job;
}

export function signIn(value: string): void {
  sessionStorage.removeItem(shareKey);
  sessionStorage.setItem(key, value);
  token.value = value;
}

export function signOut(): void {
  sessionStorage.removeItem(key);
  sessionStorage.removeItem(shareKey);
  token.value = null;
}

/** The token as WebSocket subprotocols carry it: base64url without padding, since a browser can send no header there. */
export function streamProtocols(value: string): string[] {
  const bytes = new TextEncoder().encode(value);
  const base64 = btoa(String.fromCharCode(...bytes));
  return ['pgsluice', `bearer.${base64.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}`];
}
