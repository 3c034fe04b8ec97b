import { expect, test } from 'vitest';
import { parseEndpoint } from './settings.ts';
import { settingsUrl } from './settings-url.ts';

const url = `postgres://app:${encodeURIComponent('p/ss:w@rd %')}@db.example:6543/shop%20x?sslmode=require`;

test('the URL means the same to whoever reads it', () => {
  for (const input of [
    url,
    `postgres://app:x@[::1]:5433/shop`,
    `postgres://app:x@/shop?host=/run/pg&port=5433`,
    `postgres://app@h/shop?sslmode=verify-full&sslrootcert=/etc/a%20b.pem`,
  ]) {
    const settings = parseEndpoint({ url: input }, 'target');
    expect(parseEndpoint({ url: settingsUrl(settings, true) }, 'target')).toEqual(settings);
  }
});
