import { signal } from '@preact/signals';

export const themes = ['system', 'light', 'dark'] as const;
export type Theme = (typeof themes)[number];

const key = 'pgsluice-theme';

export const theme = signal<Theme>('system');
/** Counts changes of the colours in effect, for what paints on a canvas. */
export const paletteVersion = signal(0);

function apply(next: Theme): void {
  theme.value = next;
  if (next === 'system') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = next;
  paletteVersion.value += 1;
}

export function restoreTheme(): void {
  const stored = localStorage.getItem(key);
  apply(themes.find((name) => name === stored) ?? 'system');
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    paletteVersion.value += 1;
  });
}

/** system → light → dark → system. */
export function nextTheme(): void {
  const next = themes[(themes.indexOf(theme.value) + 1) % themes.length] ?? 'system';
  localStorage.setItem(key, next);
  apply(next);
}
