import { expect, test } from 'vitest';
import type { JobView } from '../../src/contract/job.ts';
import { verdictOf } from './components/result-card.tsx';
import { stateBadge } from './words.ts';

const ended = (verified: boolean, differences: number, verify: string): JobView =>
  ({
    state: 'completed',
    kind: 'move',
    startedAt: '2026-01-01T00:00:00Z',
    verified,
    differences,
    options: { verify },
  }) as unknown as JobView;

test.each([
  [true, 0, 'full', 'Completed', 'Completed and verified'],
  [false, 2, 'full', 'Completed, differs', 'Copied, but the target differs'],
  [false, 0, 'full', 'Completed, not wholly verified', 'Completed, not wholly verified'],
  [false, 0, 'none', 'Completed, not verified', 'Completed, not verified'],
])('verified %s with %i differences by %s reads "%s"', (verified, differences, verify, word, title) => {
  const job = ended(verified, differences, verify);
  expect(stateBadge(job).word).toBe(word);
  expect(verdictOf(job).title).toBe(title);
});
