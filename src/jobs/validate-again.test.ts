import { expect, test } from 'vitest';
import type { CheckResult } from '../contract/check.ts';
import type { JobEventBody } from '../contract/event.ts';
import { noTotals } from './totals.ts';
import { type Attempt, type ServerSide, goneIn, reachedIn, validatePatiently } from './validate-again.ts';

function check(id: string, code: string | null = null): CheckResult {
  const side = id.endsWith('source') ? 'source' : 'target';
  const outcome = code === null ? 'passed' : 'failed';
  const words = { title: '', found: `${id} ${code ?? 'is well'}.`, remedy: '' };
  return { id, family: 'connect', side, outcome, code, elapsedMs: 1, ...words };
}

const both = [check('connect.source'), check('connect.target')];
const attempt = (...checks: CheckResult[]): Attempt => {
  const blocked = checks.some(({ outcome }) => outcome === 'failed');
  return { checks, blocked, error: null, facts: blocked ? null : {} };
};
const nobody: ReadonlySet<ServerSide> = new Set();

test('a server that went away is told from an address that never answered', () => {
  expect(reachedIn(both)).toEqual(['source', 'target']);
  expect(reachedIn([check('connect.source'), check('connect.target', 'CONNECTION_REFUSED')])).toEqual(['source']);
  const refused = attempt(check('connect.source', 'CONNECTION_REFUSED'), check('connect.target'));
  expect(goneIn(refused, nobody)).toBeNull();
  expect(goneIn(refused, new Set(['source']))).toMatchObject({ side: 'source' });
  expect(goneIn(attempt(check('connect.target', 'SERVER_STARTING')), nobody)).toMatchObject({ side: 'target' });
  expect(goneIn(attempt(...both, check('objects.source', 'CONNECTION_LOST')), nobody)).toMatchObject({
    side: 'source',
  });
  expect(goneIn(attempt(...both, check('objects.source', 'TARGET_NOT_EMPTY')), nobody)).toBeNull();
  expect(goneIn(attempt(...both), nobody)).toBeNull();
  // Lost after the last check that could block.
  expect(goneIn({ ...attempt(...both), facts: null }, nobody)).not.toBeNull();
});

function patient(answers: (Attempt | 'down')[], patience = { awaitMs: 200, lookEveryMs: 1, mostLosses: 2 }) {
  const events: JobEventBody[] = [];
  let made = 0;
  const context = {
    signal: new AbortController().signal,
    emit: (event: JobEventBody) => void events.push(event),
    totals: () => noTotals,
    clearChecks: () => Promise.resolve([]),
  };
  const down = attempt(check('connect.source', 'CONNECTION_REFUSED'), check('connect.target'));
  const validate = (only?: readonly string[]): Promise<Attempt> => {
    if (only === undefined) made += 1;
    const [next] = answers;
    if (answers.length > 1) answers.shift();
    return Promise.resolve(next === 'down' || next === undefined ? down : next);
  };
  const waits = (): string[] =>
    events.flatMap((event) => (event.type === 'metric' ? [event.waiting?.what ?? 'nothing'] : []));
  return { run: () => validatePatiently({ context, validate, patience }), waits, made: () => made };
}

test('it is waited for, visibly, and all is checked anew', async () => {
  const lost = attempt(...both, check('objects.source', 'CONNECTION_LOST'));
  const whole = attempt(...both, check('objects.source'));
  const job = patient([lost, 'down', 'down', attempt(...both), whole]);
  expect(await job.run()).toBe(whole);
  expect(job.made()).toBe(2);
  expect(job.waits()).toEqual(['the source to answer again', 'nothing']);
});

test('the waiting has an end, and so has what goes away again and again', async () => {
  const lost = attempt(...both, check('objects.source', 'CONNECTION_LOST'));
  const gone = patient([lost, 'down'], { awaitMs: 30, lookEveryMs: 1, mostLosses: 2 });
  expect(await gone.run()).toBe(lost);
  expect(gone.made()).toBe(1);
  const again = patient([lost, attempt(...both), lost, attempt(...both), lost]);
  expect(await again.run()).toBe(lost);
  expect(again.made()).toBe(3);
});
