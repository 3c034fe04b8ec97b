import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { parseEndpoint } from '../postgres/settings.ts';
import { fileKind, psqlCommand, refusedFile } from './import-archive-kind.ts';

const target = parseEndpoint({ url: 'postgres://app:secret@db.example.com:6000/shop' }, 'target');

it.each([
  ['custom', Buffer.from('PGDMP\u0001\u000e\0')],
  ['sql', Buffer.from('--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n')],
  ['sql', Buffer.from('\n\nCREATE TABLE a (b int);\n')],
  ['cluster-sql', Buffer.from('--\n-- PostgreSQL database cluster dump\n--\n')],
  ['sql-gzip', gzipSync('--\n-- PostgreSQL database dump\n--\n')],
  ['compressed', gzipSync('PGDMP')],
  ['compressed', Buffer.from('28b52ffd0000', 'hex')],
  ['tar', Buffer.concat([Buffer.alloc(257), Buffer.from('ustar\0')])],
  ['empty', Buffer.alloc(0)],
  ['other', Buffer.from('id,name\n1,a\n')],
  ['other', Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0])],
] as const)('tells %s by its first bytes', (kind, head) => {
  expect(fileKind(head)).toBe(kind);
});

it('says how an SQL dump is loaded, without a password and quoted for a shell', () => {
  const to = '-h db.example.com -p 6000 -U app';
  expect(psqlCommand('sql', "/a/it's.sql", target)).toBe(
    `psql -X -v ON_ERROR_STOP=1 --single-transaction ${to} -d shop -f '/a/it'\\''s.sql'`,
  );
  expect(psqlCommand('sql-gzip', '/a/b.sql.gz', target)).toBe(
    `gunzip -c /a/b.sql.gz | psql -X -v ON_ERROR_STOP=1 --single-transaction ${to} -d shop`,
  );
  expect(psqlCommand('cluster-sql', '/a/all.sql', target)).toBe(
    `psql -X -v ON_ERROR_STOP=1 ${to} -d postgres -f /a/all.sql`,
  );
  expect(refusedFile('sql', '/a/b.sql', target).code).toBe('ARCHIVE_IS_SQL');
  expect(refusedFile('tar', '/a/b.tar', target).hint).toContain('tar -xf /a/b.tar -C /a/b.tar.d');
});
