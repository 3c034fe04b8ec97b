import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { PgsluiceError } from '../errors.ts';
import { CutoverRequests } from './cutover-requests.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function asking(requests: CutoverRequests): Promise<string> {
  return requests.ask().then(
    () => 'begun',
    (error: unknown) => (error instanceof PgsluiceError ? `${error.code}: ${error.message}` : String(error)),
  );
}

it('begins for whoever waits', async () => {
  const requests = new CutoverRequests();
  let woken = 0;
  requests.onAsk(() => (woken += 1));
  const answer = asking(requests);
  expect([woken, requests.pending, requests.take(), requests.pending]).toEqual([1, true, true, false]);
  requests.begun();
  expect(await answer).toBe('begun');
  expect(requests.take()).toBe(false);
});

it('gives up after 20 s, names what is waited for, and begins nothing for one who was told so', async () => {
  const requests = new CutoverRequests();
  await requests.during('The source is asked', async () => {
    await vi.advanceTimersByTimeAsync(5_000);
    const answer = asking(requests);
    await vi.advanceTimersByTimeAsync(19_999);
    expect(requests.pending).toBe(true);
    await vi.advanceTimersByTimeAsync(1);
    expect(await answer).toBe(
      'CUTOVER_NOT_BEGUN: The cutover could not begin within 20 s, and was given up. The source is asked (for 25 s now).',
    );
  });
  expect([requests.pending, requests.take()]).toEqual([false, false]);
});

it('refuses nobody for the time once a cutover is being begun', async () => {
  const requests = new CutoverRequests();
  const answer = asking(requests);
  await vi.advanceTimersByTimeAsync(19_000);
  expect(requests.take()).toBe(true);
  await vi.advanceTimersByTimeAsync(60_000);
  requests.begun();
  expect(await answer).toBe('begun');
});

it('tells why it is refused, also one whose cutover was being begun', async () => {
  const requests = new CutoverRequests();
  const taken = asking(requests);
  requests.take();
  const asked = asking(requests);
  requests.refuse(new PgsluiceError({ code: 'CUTOVER_BLOCKED', message: 'No.', hint: '' }));
  expect([await taken, await asked]).toEqual(['CUTOVER_BLOCKED: No.', 'CUTOVER_BLOCKED: No.']);
});
