const paths = {
  check: 'M4 10.5l4 4 8-9',
  cross: 'M5 5l10 10M15 5L5 15',
  warn: 'M10 3l8 14H2L10 3zM10 8v4M10 14.5v.5',
  info: 'M10 2.5a7.5 7.5 0 100 15 7.5 7.5 0 000-15zM10 9v5M10 6v.5',
  skip: 'M5 10h10',
  down: 'M10 3v10M5.5 9l4.5 4.5L14.5 9M4 17h12',
  copy: 'M7 7h9v9H7zM4 13V4h9',
  arrow: 'M3 10h13M11 5l5 5-5 5',
  plus: 'M10 4v12M4 10h12',
  wave: 'M1 7c3-3 6 3 9 0s6-3 9 0M1 13c3-3 6 3 9 0s6-3 9 0',
  sun: 'M10 6.5a3.5 3.5 0 100 7 3.5 3.5 0 000-7zM10 1.5v2M10 16.5v2M1.5 10h2M16.5 10h2M4 4l1.4 1.4M14.6 14.6L16 16M4 16l1.4-1.4M14.6 5.4L16 4',
  moon: 'M16.5 12A7 7 0 018 3.5a7 7 0 108.5 8.5z',
  system: 'M2.5 4h15v10h-15zM7 17.5h6M10 14v3.5',
} as const;

export type IconName = keyof typeof paths;

/** Decoration only: whatever it means stands beside it in words. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  );
}
