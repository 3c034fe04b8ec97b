import { setTimeout as sleep } from 'node:timers/promises';
import type { Guardrail, LiveProgress } from '../../src/contract/live.ts';
import { PgsluiceError, throwIfAborted } from '../../src/errors.ts';
import type { CloneContext } from '../../src/clone/clone.ts';
import type { StagedClone } from '../../src/clone/staged-types.ts';
import type { LiveRooms, TargetProgress } from '../../src/jobs/live-rooms-types.ts';
import type { Facts } from '../../src/jobs/rooms.ts';
import type { SlotJudgement } from '../../src/live/slot-health.ts';
import type { SourceSnapshot } from '../../src/postgres/snapshot.ts';

/** What two servers hold of a live job, and what happens to it; outlives the agents of a test. */
export interface FakeWorld {
  slot: boolean;
  /** Names of all slots on the source. */
  readonly slots: Set<string>;
  publication: boolean;
  progress: { epoch: bigint; finished: boolean; archive: string | null; tables: Set<string> } | null;
  readOnly: boolean;
  fenced: boolean;
  /** How often the hand-over was told. */
  told: number;
  readonly calls: string[];
  /** Tables that fail until a retry. */
  failTables: number;
  tables: number;
  tableMs: number;
  guardrails: Guardrail[];
  /** The guardrails are not answered. */
  silent: boolean;
  slotVerdict: SlotJudgement['verdict'];
  /** Ends following once. */
  followError: PgsluiceError | null;
  drift: PgsluiceError | null;
  cutover: 'hands-over' | 'rolls-back' | 'hangs-before' | 'hangs-after-commit' | 'hangs-in-hook';
  /** Why it rolls back; null: it took too long. */
  cutoverError: PgsluiceError | null;
  /** Changes on the source since the target took over. */
  late: { schema: string; name: string; changes: number }[];
  reachable: boolean;
  /** Called when everything was taken off both servers, before the job hears of it. */
  cleaned: () => Promise<void>;
}

export function fakeWorld(changes: Partial<FakeWorld> = {}): FakeWorld {
  return {
    slot: false,
    slots: new Set(),
    publication: false,
    progress: null,
    readOnly: false,
    fenced: false,
    told: 0,
    calls: [],
    failTables: 0,
    tables: 3,
    tableMs: 1,
    guardrails: [{ id: 'lag', state: 'ok', found: 'None.', remedy: '' }],
    silent: false,
    slotVerdict: 'ok',
    followError: null,
    drift: null,
    cutover: 'hands-over',
    cutoverError: null,
    late: [],
    reachable: true,
    cleaned: () => Promise.resolve(),
    ...changes,
  };
}

const none = { inserts: 0, updates: 0, deletes: 0, truncates: 0, transactions: 0 };
const moment = { alive: true, close: () => Promise.resolve() } as unknown as SourceSnapshot;

const error = (code: string, message: string, retryable = false): PgsluiceError =>
  new PgsluiceError({ code, message, hint: 'Do it.', retryable });

async function untilAborted(signal: AbortSignal): Promise<never> {
  await sleep(3_600_000, undefined, { signal, ref: false }).catch(() => undefined);
  throwIfAborted(signal);
  throw new Error('nobody waits that long');
}

/** The rooms of the live method without a server: the world is an object. */
export function fakeLive(world: FakeWorld, facts: Facts): LiveRooms {
  const { calls } = world;
  const reached = (): void => {
    if (!world.reachable) throw error('CONNECTION_REFUSED', 'The server does not answer.', true);
  };
  const progressOf = (): TargetProgress => {
    const { progress } = world;
    if (progress === null) throw error('PROGRESS_MISSING', 'The progress is gone.');
    const { finished, archive, tables } = progress;
    progress.epoch += 1n;
    const gates = [...tables].map((name, n) => ({ oid: n + 1, schema: 'public', name, snapshot: '1:1:', via: null }));
    return { applied: 1n, epoch: progress.epoch, finished, archive, tables: gates };
  };
  const fence = {
    means: 'lock' as const,
    attempts: 1,
    raisedAt: Date.now(),
    assertStanding: () => Promise.resolve(),
    lsn: () => Promise.resolve(1n),
    waiting: () => Promise.resolve([]),
    refuseWrites: () => Promise.resolve([]),
    lift: () => {
      world.fenced = false;
      return Promise.resolve();
    },
  };
  return {
    names: (job) => ({ slot: `pgsluice_${job}`, publication: `pgsluice_${job}` }),
    readFacts: async () => {
      reached();
      return await Promise.resolve(facts);
    },
    dropLeftovers: (_place, keep) => {
      const dropped = [...world.slots].filter((name) => !keep.includes(name));
      for (const name of dropped) world.slots.delete(name);
      return Promise.resolve(dropped);
    },
    publish: async () => {
      reached();
      world.publication = true;
      return await Promise.resolve({ left: [] });
    },
    publishedTables: () => Promise.resolve([{ schema: 'public', name: 't0' }]),
    createSlot: async ({ name }) => {
      calls.push('slot');
      world.slots.add(name);
      world.slot = true;
      return await Promise.resolve({ consistentPoint: 1n, reused: false });
    },
    dropSlotAndPublication: (_place, { slot }) => {
      world.slots.delete(slot);
      Object.assign(world, { slot: false, publication: false });
      return Promise.resolve();
    },
    takeOver: async (_place, make) => {
      reached();
      if (make) world.progress ??= { epoch: 0n, finished: false, archive: null, tables: new Set() };
      return await Promise.resolve(progressOf());
    },
    copyContext: (place, _publication, { archive }) => ({
      job: place.job,
      archive,
      readCopied: () => Promise.resolve([]),
      publish: () => Promise.resolve(),
      storeArchive: () => Promise.resolve(),
      recordTable: () => '',
    }),
    createStagedClone: (context) => fakeStaged(world, context),
    readSequences: () => Promise.resolve([]),
    openDrift: () =>
      Promise.resolve({
        open: null,
        look: () => Promise.resolve(world.drift),
        explain: (met) => Promise.resolve(met),
        resumed: () => Promise.resolve(world.drift),
        beforeFence: () => Promise.resolve(),
        underFence: () => Promise.resolve(),
        close: () => Promise.resolve(),
      }),
    slotPosition: () => Promise.resolve(1n),
    startFollowing: () => Promise.resolve(),
    hasFinished: async () => {
      reached();
      return await Promise.resolve(world.progress?.finished ?? false);
    },
    dropProgress: () => {
      world.progress = null;
      return Promise.resolve();
    },
    follow: ({ signal }) => ({
      run: async () => {
        calls.push('follow');
        while (world.followError === null) {
          throwIfAborted(signal);
          await sleep(5, undefined, { signal }).catch(() => undefined);
        }
        const met = world.followError;
        world.followError = null;
        throw met;
      },
      drainTo: () => Promise.resolve(),
      hold: () => Promise.resolve(() => undefined),
      addGate: () => undefined,
      forgetShapes: () => undefined,
      connected: true,
      done: 1n,
      applied: 1n,
      epoch: 1n,
      counts: none,
      spooledBytes: 0,
    }),
    monitor: (input) => {
      const { signal, followed } = input;
      let guardrails: readonly Guardrail[] = [];
      return {
        slot: null,
        guardrails,
        read: (): Omit<LiveProgress, 'cutover'> => ({
          lagBytes: 0,
          lagSeconds: 0,
          sourceLsn: '0/1',
          appliedLsn: '0/1',
          applied: none,
          perSecond: none,
          spooledBytes: 0,
          slot: null,
          guardrails: [...guardrails],
          connected: followed.connected,
        }),
        run: async () => {
          while (!signal.aborted) {
            guardrails = await input.readGuardrails({ bytes: 0, seconds: 0 }, null).catch(() => []);
            const verdict = world.slotVerdict;
            const health = { walStatus: null, safeWalBytes: null, retainedBytes: 1, walBytesPerSecond: 0 };
            if (verdict !== 'ok') {
              const told = { ...health, lastsSeconds: null, active: true };
              input.onSlot({ health: told, verdict, message: 'The slot is too dear.', hint: 'Begin anew.' });
            }
            await sleep(20, undefined, { signal }).catch(() => undefined);
          }
        },
      };
    },
    guards: () => ({
      read: () => {
        if (!world.silent) return Promise.resolve(world.guardrails);
        return Promise.reject(error('GUARDRAILS_UNANSWERED', 'Nobody answers.', true));
      },
      close: () => Promise.resolve(),
    }),
    runCutover: async (input) => {
      calls.push('cutover');
      await input.prepare(input.signal);
      await input.readGuardrails();
      const session = {} as never;
      world.fenced = true;
      if (world.cutover === 'hangs-before') {
        try {
          await untilAborted(input.signal);
        } finally {
          world.fenced = false;
        }
      }
      await input.finish(session, await input.readSequences(session));
      await input.recordReadOnly({ database: 'shop', before: null });
      world.readOnly = true;
      const report = { steps: [], downtimeMs: 5, fencedBy: 'lock' as const, lsn: '0/1', attempts: 1 };
      if (world.cutover === 'rolls-back') {
        world.readOnly = false;
        await input.recordReadOnly(null);
        await fence.lift();
        const why = (world.cutoverError ?? error('CUTOVER_TIMEOUT', 'It took too long.', true)).report();
        return { kind: 'rolled-back', error: why, report: { ...report, downtimeMs: null } };
      }
      if (world.progress !== null) world.progress.finished = true;
      if (world.cutover === 'hangs-after-commit') await untilAborted(input.signal);
      await input.recordHandedOver();
      await input.openSourceSnapshot();
      await input.openTargetSnapshot();
      const told = await input.handOver().catch(() => null);
      if (told !== null) await input.dropSlot();
      return { kind: 'handed-over', fence, report, todo: [] };
    },
    finishSql: () => '',
    openSnapshot: () => Promise.resolve(moment),
    handOver: async (place) => {
      if (world.cutover === 'hangs-in-hook') await untilAborted(place.signal);
      world.told += 1;
      return { detail: 'Told.' };
    },
    undoReadOnly: () => {
      world.readOnly = false;
      return Promise.resolve();
    },
    undoReadOnlySql: ({ database, before }) =>
      `ALTER DATABASE ${database} ${before === null ? 'RESET default_transaction_read_only' : `SET … = ${before}`}`,
    fenceAgain: async (input) => {
      calls.push('fence again');
      world.fenced = true;
      await input.recordReadOnly({ database: 'shop', before: 'on' });
      return { fence, late: world.late };
    },
    cleanUp: async ({ live }) => {
      calls.push(`clean ${live.stage}`);
      if (!world.reachable) return { done: false, left: ['The source does not answer.'] };
      world.slots.delete(live.slot);
      Object.assign(world, { slot: false, publication: false, progress: null });
      if (!live.keepReadOnly) world.readOnly = false;
      await world.cleaned();
      return await Promise.resolve({ done: true, left: [] });
    },
  };
}

function fakeStaged(world: FakeWorld, context: CloneContext): StagedClone {
  const { calls } = world;
  const moved = { tables: 0, rows: 0, bytes: 0, indexes: 0, sequences: 0, largeObjects: 0 };
  const failed: { schema: string; name: string; error: ReturnType<PgsluiceError['report']> }[] = [];
  return {
    archive: { entries: [] },
    listTables: () => Promise.resolve([]),
    schema: async () => {
      const { progress } = world;
      if (progress?.archive !== null) return;
      calls.push(`schema replaceTarget=${context.replaceTarget}`);
      await context.beforeFirstWrite();
      progress.archive = 'stored';
    },
    copy: async () => {
      const { progress } = world;
      for (let n = 0; n < world.tables; n += 1) {
        const name = `t${n}`;
        if (progress?.tables.has(name) === true) continue;
        await context.gate.wait(context.signal);
        await sleep(world.tableMs, undefined, { signal: context.signal }).catch(() => undefined);
        throwIfAborted(context.signal);
        if (n < world.failTables) {
          const why = error('DISK_FULL', 'No space left.').report();
          failed.push({ schema: 'public', name, error: why });
          continue;
        }
        calls.push(`copy ${name}`);
        progress?.tables.add(name);
      }
      if (failed.length > 0) throw error('TABLES_FAILED', `${failed.length} tables failed.`, true);
      return { tables: [], moved };
    },
    buildRest: () => Promise.resolve(),
    addTable: () => Promise.reject(new Error('no tables are added here')),
    replaceArchive: () => Promise.resolve(),
    refreshViews: () => Promise.resolve(),
    readSequences: () => Promise.resolve([]),
    writeSequences: () => Promise.resolve(),
    finish: () => {
      const counts = { foreignKeys: 1, triggers: 0, rules: 0, policies: 0, privileges: 0, sequences: 0 };
      const rest = { refreshed: 0, others: 0, roundTrips: 1 };
      return Promise.resolve({ unvalidated: [], problems: [], counts: { ...counts, ...rest } });
    },
    listUnvalidated: () => Promise.resolve([]),
    validateConstraints: () => Promise.resolve(),
    outcome: () => ({
      ok: failed.length === 0,
      error: null,
      failedTables: failed,
      restoreProblems: [],
      phases: [],
      moved: { ...moved, tables: world.progress?.tables.size ?? 0 },
      targetExtensions: [],
      todo: [],
    }),
    close: () => Promise.resolve(),
  };
}
