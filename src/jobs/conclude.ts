import type { JobState } from '../contract/event.ts';
import type { LiveState } from '../contract/live.ts';
import { PgsluiceError } from '../errors.ts';
import { type JobPatch, type JobRow, saveReport } from '../store/job-queries.ts';
import { type JobHooks, hookTodo, uncalledHooks } from './hooks.ts';
import { type Ending, buildReport, isVerified, resultEvent } from './job-report.ts';
import type { Sides } from './job-view.ts';
import type { JobWriter } from './job-writer.ts';
import type { RunEnvironment } from './run-environment.ts';
import type { Surroundings } from './surroundings.ts';

export interface ConcludeInput {
  readonly environment: Pick<RunEnvironment, 'store' | 'rooms'>;
  readonly row: JobRow;
  readonly live: LiveState | null;
  readonly sides: Sides;
  readonly writer: JobWriter;
  readonly hooks: JobHooks;
  readonly surroundings: Surroundings;
  readonly signal: AbortSignal;
  readonly goal: 'validate' | 'migrate';
  readonly ending: Omit<Ending, 'places' | 'applications' | 'todo'>;
  /** What hooks have left to do so far. */
  readonly todo: readonly string[];
  readonly reason: string;
  readonly patch: JobPatch;
}

/** The end of a run: its report, its last state, the hooks of that moment, and the result. */
export async function conclude(input: ConcludeInput): Promise<void> {
  const { environment, row, sides, writer, hooks, surroundings, ending } = input;
  const { store } = environment;
  const { status, end } = ending;
  const say = (level: 'debug' | 'info' | 'warn', message: string): void => writer.say(level, message);
  const report = buildReport({ ...row, live: input.live }, sides, {
    ...ending,
    places: surroundings.places(sides),
    applications:
      status === 'completed'
        ? await surroundings
            .applications({ ...input, rooms: environment.rooms, options: row.options, log: say })
            // The move is whole, whoever stops the agent now.
            .catch((error: unknown) => unlessStopped(error, input.signal, []))
        : [],
    todo: [...input.todo, ...(status === 'completed' && input.live === null ? uncalledHooks(row.options) : [])],
  });
  await saveReport(store.db, row.id, report);
  await writer.log.drain();
  const moment =
    input.goal === 'validate' || status === 'cancelled' ? null : status === 'completed' ? status : 'failed';
  const told = moment !== null && hooks.has(moment);
  if (told) await hooks.due(moment);
  await writer.move(status satisfies JobState, input.reason, {
    ...input.patch,
    error: ending.error,
    verified: isVerified(report.verification),
    differences: report.verification?.differences.length ?? 0,
    finishedAt: ending.finishedAt,
    goesOn: false,
    // While its hooks are called nobody else calls them; whoever finds them open after a crash does (hook-sweep.ts).
    held: end?.held != null || told,
  });
  let last = report;
  if (told) {
    const failures = await hooks
      .run(moment, status, report)
      .catch((error: unknown) => unlessStopped(error, input.signal, []));
    if (failures.length > 0) {
      last = { ...report, todo: [...report.todo, ...hookTodo(failures)] };
      await saveReport(store.db, row.id, last);
    }
  }
  writer.emit(resultEvent(last, status));
  await writer.log.drain();
}

function unlessStopped<T>(error: unknown, signal: AbortSignal, instead: T): T {
  if (signal.aborted && error instanceof PgsluiceError) return instead;
  throw error;
}
