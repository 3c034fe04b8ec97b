import { expect, it } from 'vitest';
import { groupOffers } from './group-offers.ts';

it('offers only what has a meaning for a member, and says for how many', () => {
  const offers = groupOffers([{ state: 'ready' }, { state: 'running' }, { state: 'completed' }, { state: 'failed' }]);
  expect(offers).toEqual([
    { action: 'start', count: 1 },
    { action: 'retry', count: 1 },
    { action: 'validate', count: 1 },
    { action: 'pause', count: 1 },
    { action: 'cancel', count: 2 },
  ]);
  // Started now, those that are being checked would be left behind.
  expect(groupOffers([{ state: 'ready' }, { state: 'validating' }])).toEqual([{ action: 'cancel', count: 2 }]);
  expect(groupOffers([{ state: 'completed' }, { state: 'cancelled' }])).toEqual([]);
});
