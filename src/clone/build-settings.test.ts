import { expect, test } from 'vitest';
import { buildSettingsSql, chooseBuildSettings } from './build-settings.ts';

const MIB = 1024 ** 2;
const means = {
  maintenanceWorkMem: 64 * MIB,
  effectiveCacheSize: 4096 * MIB,
  parallelMaintenanceWorkers: 2,
  parallelWorkers: 8,
  parallelWorkersChosen: false,
};

test.each([
  ['a quarter of the cache, shared among the builds', {}, 4, 256],
  ['never more than 1 GiB each', { effectiveCacheSize: 262_144 * MIB }, 4, 1024],
  ['never less than the server gives', { effectiveCacheSize: 512 * MIB }, 4, 64],
  ['all builds together stay below that quarter', {}, 16, 64],
])('%s', (_, more, jobs, expected) => {
  const { maintenanceWorkMem } = chooseBuildSettings({ ...means, ...more }, jobs);
  expect(maintenanceWorkMem).toBe(expected * MIB);
});

test('workers are raised only where somebody chose the number of the whole server, and never lowered', () => {
  const workers = (more: object, jobs = 2): number | null =>
    chooseBuildSettings({ ...means, ...more }, jobs).parallelMaintenanceWorkers;
  expect(workers({ parallelWorkers: 16 })).toBeNull();
  expect(workers({ parallelWorkers: 16, parallelWorkersChosen: true })).toBe(8);
  expect(workers({ parallelWorkers: 12, parallelWorkersChosen: true }, 4)).toBe(3);
  expect(workers({ parallelWorkers: 64, parallelWorkersChosen: true }, 1)).toBe(8);
  expect(workers({ parallelWorkers: 4, parallelWorkersChosen: true }, 4)).toBeNull();
  expect(workers({ parallelMaintenanceWorkers: null, parallelWorkers: 64, parallelWorkersChosen: true })).toBeNull();
});

test('as SQL', () => {
  expect(buildSettingsSql({ maintenanceWorkMem: 256 * MIB, parallelMaintenanceWorkers: null })).toBe(
    "SET maintenance_work_mem = '262144kB'",
  );
  expect(buildSettingsSql({ maintenanceWorkMem: MIB, parallelMaintenanceWorkers: 3 })).toBe(
    "SET maintenance_work_mem = '1024kB'; SET max_parallel_maintenance_workers = 3",
  );
});
