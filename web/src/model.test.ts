import { describe, expect, it } from 'vitest';
import type { JobEvent, TableProgress } from '../../src/contract/event.ts';
import type { JobView } from '../../src/contract/job.ts';
import { modelFrom, reduceEvents, stepOf, tableFraction, tableKey, thinSamples, withJob } from './model.ts';

type Body = JobEvent extends infer E ? (E extends JobEvent ? Omit<E, 'seq' | 'at'> : never) : never;
const event = (seq: number, body: Body): JobEvent => ({ seq, at: '2026-01-01T00:00:10.000Z', ...body });

const table: TableProgress = {
  schema: 'public',
  name: 'orders',
  state: 'copying',
  rows: 500,
  bytes: 4000,
  sizeBytes: 10_000,
  estimatedRows: 1000,
  format: 'binary',
  rate: 10,
  seconds: 1,
  attempts: 1,
  error: null,
};

function job(extra: Partial<JobView> = {}): JobView {
  const totals = { tables: 1, tablesDone: 0, tablesFailed: 0, rows: 0, bytes: 0, fraction: 0.5 };
  const empty = {
    id: 'j',
    name: 'n',
    state: 'running',
    phase: null,
    summary: '',
    totals,
    verified: false,
    error: null,
  };
  return { ...empty, lastSeq: 10, startedAt: '2026-01-01T00:00:00Z', ...extra } as unknown as JobView;
}

const metric = (fraction: number): Body => ({
  type: 'metric',
  tables: 1,
  tablesDone: 0,
  rows: 1,
  bytes: 1,
  fraction,
  bytesPerSecond: 100,
  rowsPerSecond: 1,
  remaining: null,
  waiting: null,
});

describe('reduceEvents', () => {
  it('lets history fill the chart and the phases, but not undo what the agent has answered', () => {
    const start = modelFrom(job(), [table], []);
    const next = reduceEvents(start, [
      event(3, { type: 'phase', phase: 'schema', status: 'started', seconds: null, detail: '' }),
      event(4, { type: 'phase', phase: 'schema', status: 'finished', seconds: 2, detail: '12 objects' }),
      event(5, { type: 'table', table: { ...table, rows: 1 } }),
      event(6, metric(0.1)),
    ]);
    expect(next.tables.get(tableKey(table))?.rows).toBe(500);
    expect(next.fraction).toBe(0.5);
    expect(next.samples).toEqual([{ at: Date.parse('2026-01-01T00:00:10Z') / 1000, rate: 100 }]);
    expect(next.phases.get('schema')).toEqual({
      status: 'finished',
      startedAt: '2026-01-01T00:00:10.000Z',
      seconds: 2,
      detail: '12 objects',
    });
    expect(start.phases.size).toBe(0);
  });

  it('never lets the progress fall within a run, and starts at zero for a new one', () => {
    const start = modelFrom(job(), [], []);
    const further = reduceEvents(start, [event(11, metric(0.7)), event(12, metric(0.6))]);
    expect(further.fraction).toBe(0.7);
    expect(withJob(further, job()).fraction).toBe(0.7);
    const again = reduceEvents(further, [
      event(13, { type: 'state', state: 'running', previous: 'ready', reason: '', error: null }),
    ]);
    expect(again.fraction).toBe(0);
    expect(again.samples).toEqual([]);
  });

  it('draws what is copied, not what is compared', () => {
    const comparing = {
      tables: 1,
      tablesDone: 0,
      rows: 0,
      bytes: 0,
      fraction: 0,
      bytesPerSecond: 9e9,
      rowsPerSecond: 9,
    };
    const next = reduceEvents(modelFrom(job(), [], []), [
      event(11, { ...metric(1), type: 'metric', comparing } as Body),
    ]);
    expect(next.samples).toEqual([]);
    expect(next.metric?.comparing).toEqual(comparing);
  });

  it('keeps the progress across pause and retry', () => {
    const start = modelFrom(job(), [], []);
    for (const previous of ['paused', 'failed'] as const) {
      const next = reduceEvents(start, [
        event(11, { type: 'state', state: 'running', previous, reason: '', error: null }),
      ]);
      expect(next.fraction).toBe(0.5);
    }
  });

  it('takes from the result what was proven, before the agent is asked again', () => {
    const result = { type: 'result', status: 'completed', verified: true, differences: [] } as unknown as Body;
    const next = reduceEvents(modelFrom(job(), [], []), [event(11, result)]);
    expect(next.job?.verified).toBe(true);
  });

  it('forgets old checks when a new validation starts', () => {
    const check = { id: 'connect.source', outcome: 'passed' } as never;
    const start = modelFrom(job({ state: 'ready' }), [], [check]);
    const next = reduceEvents(start, [
      event(11, { type: 'state', state: 'validating', previous: 'ready', reason: '', error: null }),
      event(12, { type: 'check', check: { id: 'server.encoding', side: 'both' } as never }),
    ]);
    expect([...next.checks.keys()]).toEqual(['server.encoding\0both']);
    expect(start.checks.size).toBe(1);
    expect(next.job?.state).toBe('validating');
  });
});

describe('figures of the model', () => {
  it('measures a table by rows where they are known, and is full only when committed', () => {
    expect(tableFraction(table)).toBe(0.5);
    expect(tableFraction({ ...table, estimatedRows: null })).toBe(0.4);
    expect(tableFraction({ ...table, rows: 5000 })).toBe(0.99);
    expect(tableFraction({ ...table, state: 'copied' })).toBe(1);
    expect(tableFraction({ ...table, state: 'pending' })).toBe(0);
  });

  it('keeps the chart within bounds', () => {
    const many = Array.from({ length: 1201 }, (_, i) => ({ at: i, rate: i }));
    const thinned = thinSamples(many);
    expect(thinned).toHaveLength(601);
    expect(thinned[0]).toEqual({ at: 1, rate: 0.5 });
    expect(thinned.at(-1)).toEqual({ at: 1200, rate: 1200 });
  });

  it('knows which step a job is at', () => {
    expect(stepOf(job({ state: 'ready' }))).toBe('validate');
    expect(stepOf(job({ state: 'failed' }))).toBe('migrate');
    expect(stepOf(job({ state: 'failed', startedAt: null }))).toBe('validate');
  });
});
