import { HTTPException } from 'hono/http-exception';
import { expect, test } from 'vitest';
import { JobRequest } from '../contract/options.ts';
import { PgsluiceError } from '../errors.ts';
import { fieldPath, problemOf, problemOfInput, statusOf } from './problem.ts';

const error = (code: string, retryable = false): PgsluiceError =>
  new PgsluiceError({ code, message: 'What happened.', hint: 'What to do.', retryable });

test.each([
  ['JOB_NOT_FOUND', false, 404],
  ['INVALID_URL', false, 400],
  ['INVALID_TRANSITION', false, 409],
  ['JOB_RUNNING', false, 409],
  ['SOMETHING_NEW', false, 422],
  ['SOMETHING_NEW', true, 503],
])('%s (retryable: %s) answers %d', (code, retryable, status) => {
  expect(statusOf(error(code, retryable))).toBe(status);
});

test('our errors show code, sentence and remedy', () => {
  expect(problemOf(error('JOB_NOT_FOUND'))).toEqual({
    type: 'urn:pgsluice:error:JOB_NOT_FOUND',
    title: 'Not found',
    status: 404,
    code: 'JOB_NOT_FOUND',
    detail: 'What happened.',
    hint: 'What to do.',
  });
});

test('foreign errors show nothing of themselves', () => {
  const body = problemOf(new Error('password=hunter2 at /srv/app.js:1'));
  expect(body).toMatchObject({ status: 500, code: 'INTERNAL' });
  expect(JSON.stringify(body)).not.toContain('hunter2');
});

test('what the framework refuses gets our form', () => {
  expect(problemOf(new HTTPException(400))).toMatchObject({ status: 400, code: 'INVALID_JSON' });
  expect(problemOf(new HTTPException(415))).toMatchObject({ status: 415, code: 'UNSUPPORTED_MEDIA_TYPE' });
});

test('a wrong body names its fields and never their values', () => {
  const parsed = JobRequest.safeParse({
    source: { url: 'postgres://u:hunter2@h/d', port: 99_999 },
    target: {},
    options: { tableJobs: 'hunter2' },
  });
  if (parsed.success) throw new Error('accepted');
  const body = problemOfInput(parsed.error);
  expect(body.errors?.map((field) => field.path)).toEqual(['source.port', 'options.tableJobs']);
  expect(body.detail).toContain('source.port: ');
  expect(JSON.stringify(body)).not.toContain('hunter2');
});

test('a path reads like the body', () => {
  expect(fieldPath(['options', 'includeTable', 0])).toBe('options.includeTable[0]');
  expect(fieldPath([])).toBe('');
});
