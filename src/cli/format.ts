const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** Bytes in the units of the page and of the checks, with three figures or so: `0 B`, `999 B`, `1.2 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit] ?? 'B'}`;
}

export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}

/** `1 table`, `3 tables`. */
export function plural(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** Seconds as a person says them: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return whole % 60 === 0 ? `${whole / 60} min` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(whole / 60);
  return minutes % 60 === 0 ? `${minutes / 60} h` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** How long something lasts that nobody plans to the minute: `3 h 10 min`, `12 days`, `more than a year`. */
export function formatLasting(seconds: number): string {
  const days = Math.floor(seconds / 86_400);
  if (days >= 365) return 'more than a year';
  return days >= 2 ? `about ${days} days` : `about ${formatSeconds(seconds)}`;
}

/** What is left, as a range until it is known. */
export function formatRemaining(remaining: { readonly low: number; readonly high: number } | null): string {
  if (remaining === null) return 'time left not known yet';
  const low = formatRough(remaining.low);
  const high = formatRough(remaining.high);
  return low === high ? `about ${high} left` : `${low} to ${high} left`;
}

/** No false precision: a remaining time is told in steps a person would use. */
function formatRough(seconds: number): string {
  if (seconds < 10) return `${Math.max(1, Math.ceil(seconds))} s`;
  if (seconds < 60) return `${Math.ceil(seconds / 5) * 5} s`;
  if (seconds < 3600) return `${Math.ceil(seconds / 60)} min`;
  const halves = Math.ceil(seconds / 1800);
  return `${halves / 2} h`;
}

export function formatPercent(fraction: number): string {
  // 100 % is said only when everything is done.
  const percent = fraction >= 1 ? 100 : Math.min(99, Math.floor(fraction * 100));
  return `${percent} %`;
}
