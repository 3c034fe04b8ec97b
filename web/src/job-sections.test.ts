import { expect, it } from 'vitest';
import type { JobView } from '../../src/contract/job.ts';
import { sectionsOf } from './job-sections.ts';

const job = (id: string, at: number, group?: string): JobView =>
  ({
    id,
    createdAt: new Date(at).toISOString(),
    group: group === undefined ? null : { id: group, name: group },
  }) as JobView;

it('keeps the members of a group together where its newest job stands, and every job exactly once', () => {
  const jobs = [
    job('a', 1),
    job('b', 2, 'g'),
    job('c', 3),
    job('d', 4, 'g'),
    job('e', 5, 'h'),
    job('f', 6),
    job('x', 7),
  ];
  const seen = sectionsOf(jobs).map(({ group, jobs: members }) => [group?.id ?? null, members.map(({ id }) => id)]);
  expect(seen).toEqual([
    [null, ['x', 'f']],
    ['h', ['e']],
    ['g', ['d', 'b']],
    [null, ['c', 'a']],
  ]);
});
