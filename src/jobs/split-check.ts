import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { chooseFence, raiseFence } from '../live/fence.ts';
import type { FencePlan } from '../live/fence-types.ts';
import { openChangeStream } from '../live/stream.ts';
import type { Change, Relation, Transaction } from '../live/types.ts';
import type { Lsn } from '../postgres/lsn.ts';
import { openSession } from '../postgres/session.ts';
import { readPublished } from './live-guards.ts';
import type { FenceAgainInput, LateChanges, LiveRooms } from './live-rooms-types.ts';
import { linked } from './live-work.ts';

const askEveryMs = 100;
const takeBytes = 8 * 1024 * 1024;

/**
 * After an interruption between the target's commit and the hand-over: stops writes on the source again, and reads from the
 * slot what was written there since. The fence stands when it answers, whatever was found.
 * @throws PgsluiceError as raiseFence and openChangeStream do; no fence stands then.
 */
export async function fenceAgain(input: FenceAgainInput): ReturnType<LiveRooms['fenceAgain']> {
  const { source, signal, job, state } = input;
  const session = await openSession(source, {
    signal,
    side: 'source',
    purpose: `fence-plan ${job}`,
    retryForMs: 3_000,
  });
  const choose = async (): Promise<FencePlan> => {
    try {
      return await chooseFence(session, await readPublished(session, state.publication));
    } finally {
      await session.close();
    }
  };
  const plan = await choose();
  const fence = await raiseFence({
    settings: source,
    job,
    plan,
    signal,
    deadlineAt: Date.now() + input.timeoutMs,
    onState: (text) => input.log('info', text),
    record: (readOnly) => input.recordReadOnly(readOnly),
    recorded: state.readOnly,
    log: input.log,
  });
  try {
    return { fence, late: await changesUpTo(input, await fence.lsn()) };
  } catch (error) {
    await fence.lift();
    throw error;
  }
}

async function changesUpTo(input: FenceAgainInput, lsn: Lsn): Promise<readonly LateChanges[]> {
  const { source, state, progress, signal, workDir, sourceMajor, log } = input;
  const from = progress.applied ?? 0n;
  const link = linked(signal);
  const { slot, publication } = state;
  const late = new Map<number, LateChanges>();
  const timer = setTimeout(() => link.controller.abort(notAnswered()), input.timeoutMs);
  try {
    const bounded = link.controller.signal;
    const stream = await openChangeStream({
      settings: source,
      slot,
      publication,
      from,
      sourceMajor,
      workDir,
      signal: bounded,
      log,
    });
    const asking = setInterval(() => stream.askPosition(), askEveryMs);
    try {
      stream.acknowledge(from);
      for (let seen = from; seen < lsn;) {
        for (const item of await stream.take(takeBytes, bounded)) {
          throwIfAborted(bounded);
          const at = item.kind === 'position' ? item.lsn : item.transaction.endLsn;
          if (item.kind === 'transaction') {
            if (at > from) await count(item.transaction, late);
            await item.transaction.release();
          }
          if (at > seen) seen = at;
        }
      }
    } finally {
      clearInterval(asking);
      await stream.close();
    }
  } finally {
    clearTimeout(timer);
    link.release();
  }
  return [...late.values()];
}

async function count(transaction: Transaction, late: Map<number, LateChanges>): Promise<void> {
  for await (const piece of transaction.pieces()) {
    for (const { oid, schema, name } of piece.flatMap(relationsOf)) {
      late.set(oid, { schema, name, changes: (late.get(oid)?.changes ?? 0) + 1 });
    }
  }
}

function relationsOf(change: Change): readonly Relation[] {
  return change.kind === 'truncate' ? change.relations : [change.relation];
}

function notAnswered(): PgsluiceError {
  return new PgsluiceError({
    code: 'SOURCE_SILENT',
    message: 'The source did not send its changes up to the fence in time.',
    hint: 'See whether its WAL senders are busy.',
    retryable: true,
  });
}
