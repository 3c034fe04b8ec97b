import { PgsluiceError } from '../errors.ts';

/** Encodings by PostgreSQL's name, and what the decoder calls them (PostgreSQL documentation, 24.3; WHATWG Encoding). */
const decoders: Readonly<Record<string, string>> = {
  UTF8: 'utf-8',
  EUC_JP: 'euc-jp',
  EUC_KR: 'euc-kr',
  KOI8R: 'koi8-r',
  KOI8U: 'koi8-u',
  LATIN2: 'iso-8859-2',
  LATIN3: 'iso-8859-3',
  LATIN4: 'iso-8859-4',
  LATIN6: 'iso-8859-10',
  LATIN7: 'iso-8859-13',
  LATIN8: 'iso-8859-14',
  LATIN9: 'iso-8859-15',
  LATIN10: 'iso-8859-16',
  WIN866: 'ibm866',
  WIN874: 'windows-874',
  WIN1250: 'windows-1250',
  WIN1251: 'windows-1251',
  WIN1252: 'windows-1252',
  WIN1253: 'windows-1253',
  WIN1254: 'windows-1254',
  WIN1255: 'windows-1255',
  WIN1256: 'windows-1256',
  WIN1257: 'windows-1257',
  WIN1258: 'windows-1258',
};

function undecodable(encoding: string, cause?: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'ARCHIVE_UNREADABLE',
    message: `The archive's definitions are in the encoding ${encoding}, which cannot be read here.`,
    hint: 'Make the archive again with pg_dump --encoding=UTF8.',
    cause,
  });
}

function isAscii(bytes: Buffer): boolean {
  return bytes.every((byte) => byte < 0x80);
}

/**
 * Text of an archive whose encoding PostgreSQL calls `encoding`; plain ASCII is read whatever it is called. Pure.
 * @throws PgsluiceError ARCHIVE_UNREADABLE for bytes that the encoding does not have, or one that is not known here.
 */
export function decodeArchiveText(bytes: Buffer, encoding: string): string {
  if (encoding === 'LATIN1') return bytes.toString('latin1');
  const label = decoders[encoding];
  if (label === undefined) {
    // SQL_ASCII says nothing about its bytes.
    if (isAscii(bytes)) return bytes.toString('latin1');
    throw undecodable(encoding);
  }
  try {
    return new TextDecoder(label, { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw undecodable(encoding, cause);
  }
}
