import { describe, expect, it } from 'vitest';
import { parseRoute } from './router.ts';
import { readShareFromHash, readTokenFromHash, streamProtocols } from './session.ts';

describe('token in the address', () => {
  it('is split from the route that follows it', () => {
    expect(readTokenFromHash('#token=abc%2F1')).toEqual({ token: 'abc/1', rest: '#/jobs' });
    expect(readTokenFromHash('#token=abc&/jobs/7/migrate')).toEqual({ token: 'abc', rest: '#/jobs/7/migrate' });
    expect(readTokenFromHash('#token=50%')).toEqual({ token: '50%', rest: '#/jobs' });
    expect(readTokenFromHash('#/jobs')).toBeNull();
  });

  it('of a link to one job comes with that job', () => {
    expect(readShareFromHash('#share=pgsluice-share_a-b_1&/jobs/k3v9')).toEqual({
      token: 'pgsluice-share_a-b_1',
      job: 'k3v9',
    });
    for (const hash of ['#token=a&/jobs/1', '#share=a', '#share=a&/groups/1', '#/jobs/1'])
      expect(readShareFromHash(hash)).toBeNull();
  });

  it('travels as a subprotocol in base64url', () => {
    expect(streamProtocols('~~~?')).toEqual(['pgsluice', 'bearer.fn5-Pw']);
  });
});

describe('routes', () => {
  it('are read from the hash', () => {
    expect(parseRoute('')).toEqual({ page: 'jobs' });
    expect(parseRoute('#/new')).toEqual({ page: 'new', from: null });
    expect(parseRoute('#/new/from/a%20b')).toEqual({ page: 'new', from: 'a b' });
    expect(parseRoute('#/jobs/42/migrate')).toEqual({ page: 'job', id: '42', step: 'migrate' });
    expect(parseRoute('#/jobs/42/%E0')).toEqual({ page: 'job', id: '42', step: null });
  });
});
