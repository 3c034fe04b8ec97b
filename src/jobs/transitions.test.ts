import { expect, test } from 'vitest';
import { jobStates } from '../contract/event.ts';
import { JobAction } from '../contract/job.ts';
import { allowedActions, assertAction, canMove, isWorking, transitions } from './transitions.ts';

test('final states stay final and nothing moves to itself', () => {
  expect(transitions.completed).toEqual([]);
  expect(transitions.cancelled).toEqual([]);
  for (const state of jobStates) expect(canMove(state, state)).toBe(false);
});

test('every working state can be paused, fail and be cancelled', () => {
  for (const state of jobStates.filter(isWorking)) {
    for (const end of ['paused', 'failed', 'cancelled'] as const) expect(canMove(state, end)).toBe(true);
  }
});

test('every state is reached from draft', () => {
  const reached = new Set(['draft']);
  for (const state of reached) for (const next of transitions[state as 'draft']) reached.add(next);
  expect([...reached].toSorted()).toEqual([...jobStates].toSorted());
});

test('running is only reached through validation, a pause or a failure', () => {
  expect(jobStates.filter((state) => canMove(state, 'running'))).toEqual(['ready', 'paused', 'failed']);
});

test('an action is refused with what is possible instead', () => {
  expect(() => assertAction('running', 'start', 'copy')).toThrow(
    expect.objectContaining({ code: 'INVALID_TRANSITION', hint: 'Possible now: pause, cancel.' }),
  );
  expect(() => assertAction('completed', 'cancel', 'copy')).toThrow(
    expect.objectContaining({ code: 'INVALID_TRANSITION' }),
  );
  expect(() => assertAction('running', 'cutover', 'copy')).toThrow(expect.objectContaining({ code: 'NOT_A_LIVE_JOB' }));
  expect(() => assertAction('cutting_over', 'cutover', 'live')).toThrow(
    expect.objectContaining({ code: 'INVALID_TRANSITION', hint: 'Possible now: cancel.' }),
  );
  expect(() => assertAction('ready', 'cutover', null)).toThrow(expect.objectContaining({ code: 'INVALID_TRANSITION' }));
  for (const action of JobAction.options) {
    for (const state of allowedActions[action]) expect(() => assertAction(state, action, 'live')).not.toThrow();
  }
});
