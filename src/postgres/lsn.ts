/** A position in the WAL. PostgreSQL writes it as two hexadecimal halves, `16/B374D848` (documentation, 8.20 "pg_lsn Type"). */
export type Lsn = bigint;

/** @throws RangeError for text that is no pg_lsn. */
export function parseLsn(text: string): Lsn {
  const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text);
  if (match?.[1] === undefined || match[2] === undefined) throw new RangeError(`${text} is no LSN`);
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

/** As the server prints it: upper case, no leading zeros in either half. */
export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffff_ffffn).toString(16).toUpperCase()}`;
}
