import { describe, expect, test } from 'vitest';
import { judgeSourceLeftovers, judgeTargetLeftovers, toolOf } from './leftovers.ts';
import type { SlotFound, SourceLeftovers } from './leftovers.ts';

const slot = (name: string, given: Partial<SlotFound> = {}): SlotFound => ({
  name,
  plugin: 'pgoutput',
  active: false,
  retainedBytes: 3 * 1024 ** 2,
  ...given,
});
const none: SourceLeftovers = { slots: [], publications: [], schemas: [] };

describe('on the source', () => {
  test('nothing, and what is in use or known, pass', () => {
    expect(judgeSourceLeftovers(none, [], false).outcome).toBe('passed');
    const known = { ...none, slots: [slot('pgsluice_a')], publications: ['pgsluice_a'] };
    expect(judgeSourceLeftovers(known, ['pgsluice_a'], false).outcome).toBe('passed');
    expect(judgeSourceLeftovers({ ...none, slots: [slot('cdc', { active: true })] }, [], false).outcome).toBe('passed');
  });
  test('slots and publications of earlier jobs come with the statements that drop them', () => {
    const found = { ...none, slots: [slot('pgsluice_a')], publications: ['pgsluice_a', 'pgsluice_b'] };
    const verdict = judgeSourceLeftovers(found, ['pgsluice_c'], false);
    expect(verdict.outcome).toBe('warned');
    expect(verdict.found).toContain('pgsluice_a (keeps 3.0 MiB of WAL)');
    expect(verdict.remedy.split('\n').slice(1)).toEqual([
      `SELECT pg_drop_replication_slot('pgsluice_a');`,
      'DROP PUBLICATION "pgsluice_a";',
      'DROP PUBLICATION "pgsluice_b";',
    ]);
    expect(judgeSourceLeftovers(found, [], true)).toMatchObject({
      outcome: 'warned',
      remedy: '',
      found: expect.stringContaining('They are dropped before') as unknown,
    });
  });
  test('a job of another agent that runs is told, and nothing of it is to be dropped', () => {
    const verdict = judgeSourceLeftovers(
      { ...none, slots: [slot('pgsluice_a', { active: true })], publications: ['pgsluice_a'] },
      [],
      false,
    );
    expect(verdict).toMatchObject({ outcome: 'warned', remedy: '' });
    expect(verdict.found).toContain('Another job follows this database');
  });
  test('idle slots and schemas of other tools are named by tool', () => {
    const verdict = judgeSourceLeftovers(
      { ...none, slots: [slot('debezium'), slot('x', { plugin: 'wal2json' })], schemas: ['pgcopydb'] },
      [],
      false,
    );
    expect(verdict.found).toContain('debezium (Debezium, pgoutput, keeps 3.0 MiB of WAL), x (wal2json, keeps');
    expect(verdict.remedy).toContain(`SELECT pg_drop_replication_slot('x');`);
    expect(verdict.remedy).toContain('DROP SCHEMA "pgcopydb" CASCADE;');
    expect(toolOf({ name: 'pgl_a_b', plugin: 'pglogical_output' })).toBe('pglogical');
    expect(toolOf({ name: 'mine', plugin: 'pgoutput' })).toBeNull();
  });
});

describe('on the target', () => {
  const row = (job: string, finished = false): { job: string; finished: boolean } => ({ job, finished });
  test('no schema, and one with this job alone, pass', () => {
    expect(judgeTargetLeftovers({ schema: false, jobs: [] }, []).outcome).toBe('passed');
    expect(judgeTargetLeftovers({ schema: true, jobs: [row('a')] }, ['pgsluice_a']).outcome).toBe('passed');
  });
  test('other jobs, an empty schema and one that may not be read warn', () => {
    const others = judgeTargetLeftovers({ schema: true, jobs: [row('a'), row('b', true)] }, ['pgsluice_a']);
    expect(others).toMatchObject({ outcome: 'warned' });
    expect(others.found).toContain('1 other job: b (cut over)');
    expect(others.remedy).toContain(`DELETE FROM pgsluice_live.progress WHERE job = 'b';`);
    expect(judgeTargetLeftovers({ schema: true, jobs: [] }, []).remedy).toBe('DROP SCHEMA pgsluice_live CASCADE;');
    expect(judgeTargetLeftovers({ schema: true, jobs: null }, [])).toMatchObject({ outcome: 'warned' });
  });
});
