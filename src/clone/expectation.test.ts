import { expect, test } from 'vitest';
import type { JobEventBody } from '../contract/event.ts';
import { JobOptions } from '../contract/options.ts';
import { PauseGate } from '../gate.ts';
import { parseServerVersion } from '../postgres/version.ts';
import { Expectation } from './expectation.ts';
import { planStages } from './post-data.ts';

const owners = { tableOfIndex: new Map(), tableOfConstraint: new Map(), locksOfForeignKey: new Map() };

function expectation(): { it: Expectation; gate: PauseGate; logs: string[] } {
  const logs: string[] = [];
  const gate = new PauseGate();
  const emit = (event: JobEventBody): void => {
    if (event.type === 'log') logs.push(event.message);
  };
  const it = new Expectation({
    options: JobOptions.parse({}),
    sourceVersion: parseServerVersion('170002', '17.2', 'PostgreSQL 17.2'),
    gate,
    emit,
  });
  const table = {
    oid: 7,
    schema: 'public',
    name: 't',
    columns: [],
    sizeBytes: 1024 ** 3,
    pages: 131_072,
    estimatedRows: 1000,
    extensionCondition: null,
    via: null,
  };
  const stages = planStages({ entries: [] }, owners, new Set([7]));
  const facts = { tables: [table], stages, owners, leaves: new Set<number>(), tableJobs: 2 };
  it.say(facts, { sourceMs: 0.2, largeObjects: { count: 0, bytes: 0 } }, 0.2);
  return { it, gate, logs };
}

test('is said once, and held against what each table took', () => {
  const { it, logs } = expectation();
  expect(logs).toEqual([expect.stringMatching(/^About \d+ s for 1\.0 GiB: .*; this is an estimate\.$/)]);
  it.copyBegins();
  const { expected } = it.compared(() => 3, new Map());
  expect(expected?.spent.get(7)).toEqual({ copySeconds: 3, buildSeconds: 0 });
  expect(expected?.wasPaused()).toBe(false);
  expect([...it.builds]).toEqual([[7, 0]]);
  expect(it.paths.paths?.get(7)).toBeGreaterThan(1);
});

test('a copy that was tried again is not compared, nor one that was paused, whenever that was', () => {
  const again = expectation().it;
  again.copyBegins();
  again.copyBegins();
  expect(again.compared(() => 1, new Map())).toEqual({});
  const { it, gate } = expectation();
  it.copyBegins();
  const { expected } = it.compared(() => 1, new Map());
  gate.pause();
  gate.resume();
  expect(expected?.wasPaused()).toBe(true);
});

test('nothing is expected of what was never estimated', () => {
  const context = {
    options: JobOptions.parse({}),
    sourceVersion: parseServerVersion('170002', '17.2', 'PostgreSQL 17.2'),
    gate: new PauseGate(),
  };
  const it = new Expectation({ ...context, emit: () => undefined });
  expect([it.paths, it.builds.size, it.compared(() => 1, new Map())]).toEqual([{}, 0, {}]);
});
