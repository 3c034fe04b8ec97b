/** Figures as people read them: always with a unit, never with more digits than they mean. */

const integers = new Intl.NumberFormat('en-US');
const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** Rows, tables, lines: 1,234,567. */
export function formatCount(n: number): string {
  return integers.format(n);
}

/** `1 table`, `12 tables`. */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${formatCount(n)} ${n === 1 ? one : many}`;
}

/** Bytes in binary units with three significant digits. */
export function formatBytes(bytes: number): string {
  let value = Math.max(0, bytes);
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[unit] ?? 'B'}`;
}

/** Bytes a second. */
export function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
}

/** A share 0..1; 100 % only when all is done. */
export function formatPercent(fraction: number): string {
  if (fraction >= 1) return '100 %';
  return `${Math.min(99.9, Math.max(0, fraction) * 100).toFixed(1)} %`;
}

const two = (n: number): string => String(n).padStart(2, '0');

/** Seconds as `42 s`, `3 min 20 s`, `2 h 05 min`. */
export function formatDuration(seconds: number): string {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

/** How far the target is behind the source, for a heading. */
export function formatBehind(seconds: number): string {
  return seconds < 0.05 ? 'In step' : `${formatDuration(seconds)} behind`;
}

/** How long something lasts that nobody plans to the minute. */
export function formatLasting(seconds: number): string {
  const days = Math.floor(seconds / 86_400);
  if (days >= 365) return 'more than a year';
  return days >= 2 ? `about ${days} days` : `about ${formatDuration(seconds)}`;
}

/** Milliseconds as `840 ms`, from ten seconds on as `12 s`. */
export function formatMs(ms: number): string {
  return ms < 10_000 ? `${formatCount(Math.round(ms))} ms` : formatDuration(ms / 1000);
}

/** Rows a second: `1,234/s`, below ten with one digit. */
export function formatPerSecond(rows: number): string {
  return `${rows > 0 && rows < 10 ? rows.toFixed(1).replace(/\.0$/, '') : formatCount(Math.round(rows))}/s`;
}

/** Rounded up to what a person plans with: 10 s, then minutes, then tenths of an hour. */
function planned(seconds: number): { value: number; unit: string } {
  if (seconds <= 55) return { value: Math.max(10, Math.ceil(seconds / 10) * 10), unit: 's' };
  if (seconds <= 90 * 60) return { value: Math.max(1, Math.ceil(seconds / 60)), unit: 'min' };
  return { value: Math.ceil(seconds / 360) / 10, unit: 'h' };
}

/** Remaining seconds, a range until both ends round to the same: `about 4 min`, `3 to 6 min`, `40 s to 2 min`. */
export function formatRemaining(range: { readonly low: number; readonly high: number } | null): string {
  if (range === null) return 'not known yet';
  if (range.high <= 10) return 'under 10 s';
  const low = planned(range.low);
  const high = planned(range.high);
  if (low.unit === high.unit && low.value === high.value) return `about ${high.value} ${high.unit}`;
  return low.unit === high.unit
    ? `${low.value} to ${high.value} ${high.unit}`
    : `${low.value} ${low.unit} to ${high.value} ${high.unit}`;
}

/** Time of day where the reader is, with seconds; `at` as ISO text or in ms since the epoch. */
export function formatClock(at: string | number): string {
  const date = new Date(at);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

const dates = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });

const moments = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });

/** Date and time with seconds where the reader is. */
export function formatMoment(iso: string): string {
  return moments.format(new Date(iso));
}

/** Date and time where the reader is. */
export function formatDate(iso: string): string {
  return dates.format(new Date(iso));
}

/** How long ago `iso` was, in words; `now` in ms since the epoch. */
export function formatAgo(iso: string, now: number): string {
  const seconds = Math.max(0, (now - Date.parse(iso)) / 1000);
  if (seconds < 60) return 'just now';
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} days ago`;
}
