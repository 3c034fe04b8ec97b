import { describe, expect, it } from 'vitest';
import {
  buildEndpointUrl,
  emptyEndpoint,
  endpointProblems,
  parseEndpointUrl,
  passwordMask,
  toEndpointInput,
} from './endpoint.ts';

describe('URL and fields', () => {
  it('are the same thing in both directions', () => {
    const form = parseEndpointUrl('postgresql://app:s%40cret@db.example.com:6543/shop?sslmode=require', '');
    expect(form).toEqual({
      ...emptyEndpoint,
      host: 'db.example.com',
      port: '6543',
      user: 'app',
      password: 's@cret',
      database: 'shop',
      sslmode: 'require',
    });
    expect(form && buildEndpointUrl(form, form.password)).toBe(
      'postgres://app:s%40cret@db.example.com:6543/shop?sslmode=require',
    );
  });

  it('understand passwords that nobody escaped', () => {
    for (const password of ['p@ss', 'a/b', 'a#b', '100%', 'a:b', 'why?']) {
      const form = parseEndpointUrl(`postgres://app:${password}@db:5432/shop?sslmode=disable`, '');
      expect(form).toMatchObject({ user: 'app', password, host: 'db', database: 'shop', sslmode: 'disable' });
    }
  });

  it('understand IPv6, sockets, ecto and missing parts', () => {
    expect(parseEndpointUrl('ecto://u@[::1]:5433/d', '')).toMatchObject({ host: '::1', port: '5433', user: 'u' });
    const socket = parseEndpointUrl('postgres://u@/d?host=%2Fvar%2Frun%2Fpostgresql', '');
    expect(socket).toMatchObject({ host: '/var/run/postgresql', database: 'd' });
    expect(socket && buildEndpointUrl(socket, '')).toBe('postgres://u@/d?host=%2Fvar%2Frun%2Fpostgresql');
    expect(parseEndpointUrl('postgres://localhost', '')).toMatchObject({ host: 'localhost', database: '' });
    expect(parseEndpointUrl('mysql://u@h/d', '')).toBeNull();
    expect(parseEndpointUrl('postgres://u@a:b:c/d', '')).toBeNull();
  });

  it('keep the password behind its mask', () => {
    const form = parseEndpointUrl(`postgres://u:${passwordMask}@h/d`, 'secret');
    expect(form?.password).toBe('secret');
    expect(form && buildEndpointUrl(form, passwordMask)).toBe(`postgres://u:${passwordMask}@h:5432/d`);
  });

  it('hand on parameters without a field', () => {
    const form = parseEndpointUrl('postgres://u:p@h/d?connect_timeout=3&sslmode=bogus', '');
    expect(form?.extras).toEqual([
      ['connect_timeout', '3'],
      ['sslmode', 'bogus'],
    ]);
    expect(form && toEndpointInput(form).url).toBe('postgres://u@h:5432/d?connect_timeout=3&sslmode=bogus');
  });
});

describe('endpointProblems', () => {
  it('names each field', () => {
    expect(Object.keys(endpointProblems({ ...emptyEndpoint, port: '70000' }))).toEqual([
      'host',
      'user',
      'database',
      'port',
    ]);
    expect(endpointProblems({ ...emptyEndpoint, host: 'h', user: 'u', database: 'd' })).toEqual({});
  });
});
