const sizeUnits = { GB: 1e9, GiB: 1024 ** 3, TB: 1e12, TiB: 1024 ** 4, MB: 1e6 } as const;
export type SizeUnit = keyof typeof sizeUnits;
export const sizeUnitNames = ['MB', 'GB', 'GiB', 'TB', 'TiB'] as const satisfies readonly SizeUnit[];

/** Bytes of a typed size; null when empty, NaN when it is no size. */
export function parseSize(text: string, unit: SizeUnit): number | null {
  if (text.trim() === '') return null;
  const value = Number(text.trim().replace(',', '.'));
  return value >= 0 ? Math.round(value * sizeUnits[unit]) : Number.NaN;
}

/** The largest unit in which the size is written without a long fraction. */
export function splitSize(bytes: number): { readonly text: string; readonly unit: SizeUnit } {
  for (const unit of ['TB', 'TiB', 'GB', 'GiB', 'MB'] as const) {
    const value = bytes / sizeUnits[unit];
    if (value >= 1 && Number.isInteger(value * 100)) return { text: String(value), unit };
  }
  return { text: String(bytes / sizeUnits.MB), unit: 'MB' };
}
