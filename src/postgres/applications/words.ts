import type { ApplicationState } from './read-applications.ts';

/** `Rails at 20240102 (2 migrations, "public"."schema_migrations")`. Pure. */
export function applicationWords({
  framework,
  table,
  version,
  migrations,
}: Omit<ApplicationState, 'unfinished'>): string {
  const count = `${migrations} ${migrations === 1 ? 'migration' : 'migrations'}`;
  return `${framework} ${version === null ? 'with no migration yet' : `at ${version}`} (${count}, ${table})`;
}

export interface ComparedApplication extends ApplicationState {
  /** null: the target was not read. */
  readonly sameOnTarget: boolean | null;
}

const equal = (a: ApplicationState, b: ApplicationState): boolean =>
  a.framework === b.framework && a.version === b.version && a.migrations === b.migrations;

/**
 * What was found on the source (or, where there is none, on the target) beside what the target says now. `sources` are readings
 * of the source at different times, the latest first: a source that goes on being used moves on after the copy's moment. Pure.
 */
export function compareApplications(
  sources: readonly (readonly ApplicationState[] | null)[],
  target: readonly ApplicationState[] | null,
): ComparedApplication[] {
  const known = sources.filter((found) => found !== null);
  const newest = known[0];
  if (newest === undefined) return (target ?? []).map((app) => ({ ...app, sameOnTarget: null }));
  return newest.map((app) => {
    const there = target?.find(({ table }) => table === app.table);
    const readings = known.flatMap((found) => found.filter(({ table }) => table === app.table));
    const same = target === null ? null : there !== undefined && readings.some((reading) => equal(reading, there));
    const shown = there !== undefined && same === true ? there : app;
    return { ...shown, sameOnTarget: same };
  });
}
