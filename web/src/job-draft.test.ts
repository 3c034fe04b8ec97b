import { describe, expect, it } from 'vitest';
import { GroupRequest } from '../../src/contract/group.ts';
import { JobRequest } from '../../src/contract/options.ts';
import { parseEndpointUrl, emptyEndpoint } from './endpoint.ts';
import { draftProblems, emptyDraft, hasProblems, toOrder, type Draft } from './job-draft.ts';

const source = parseEndpointUrl('postgres://app:a@old.example.com/shop', '') ?? emptyEndpoint;
const target = parseEndpointUrl('postgres://app:b@new.example.com/shop', '') ?? emptyEndpoint;
const filled: Draft = { ...emptyDraft, source, target, archive: ' /var/backups/shop ' };

describe('the draft of a job', () => {
  it('becomes a request that the agent takes, for every kind', () => {
    for (const kind of ['move', 'export', 'import'] as const) {
      const order = toOrder({ ...filled, kind });
      const request = JobRequest.parse(order.request);
      expect(order.makes).toBe('job');
      expect(request.kind).toBe(kind);
      expect(request.archive?.path).toBe(kind === 'move' ? undefined : '/var/backups/shop');
      expect([request.source?.host, request.target?.host]).toEqual([
        kind === 'import' ? undefined : 'old.example.com',
        kind === 'export' ? undefined : 'new.example.com',
      ]);
    }
  });

  it('asks only for what its kind needs', () => {
    expect(hasProblems(draftProblems({ ...filled, target: emptyEndpoint, kind: 'export' }))).toBe(false);
    expect(hasProblems(draftProblems({ ...filled, source: emptyEndpoint, kind: 'import' }))).toBe(false);
    expect(hasProblems(draftProblems({ ...filled, source: emptyEndpoint }))).toBe(true);
    expect(draftProblems({ ...filled, archive: ' ', kind: 'export' }).archive).toBeDefined();
    expect(draftProblems({ ...filled, archive: '' }).archive).toBeUndefined();
  });

  it('becomes a group where several databases are asked for', () => {
    const all = toOrder({ ...filled, databases: { scope: 'all', list: 'left' } });
    expect(GroupRequest.parse(all.request)).toMatchObject({ databases: 'all' });
    const list: Draft = { ...filled, databases: { scope: 'list', list: 'shop\n\n accounts \nshop' } };
    expect(GroupRequest.parse(toOrder(list).request).databases).toEqual(['shop', 'accounts']);
    expect(draftProblems({ ...list, databases: { scope: 'list', list: ' \n' } }).databases).toBeDefined();
    // An export has one source database; what stood in the hidden field decides nothing.
    expect(toOrder({ ...list, kind: 'export' }).makes).toBe('job');
  });
});
