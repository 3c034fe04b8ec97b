import { InvalidArgumentError } from 'commander';

const seconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** `90m`, `12h`, `30d` → seconds. @throws commander's InvalidArgumentError. */
export function parseDuration(text: string): number {
  const match = /^(\d{1,9})([smhd])$/.exec(text);
  const length = Number(match?.[1]) * (seconds[match?.[2] ?? ''] ?? Number.NaN);
  if (length >= 60 && length <= 3660 * 86_400) return length;
  throw new InvalidArgumentError('It must be a time from one minute to ten years, for instance 90m, 12h or 30d.');
}
