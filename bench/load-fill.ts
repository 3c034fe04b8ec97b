import { sql } from 'drizzle-orm';
import pino from 'pino';
import { JobRequest } from '../src/contract/options.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { Store } from '../src/store/store.ts';

export const secretKey = 'the key of the load benchmark, long enough';

/** As many as an agent keeps of one job (defaultRetention.maxEventsPerJob). */
const linesPerJob = 400_000;
const linesPerBatch = 500;
const batchesPerStatement = 20;

const words = ['copied', 'waits for', 'has sent', 'looks at', 'goes on with', 'is done with'];

/** What an agent says; long enough, and no two alike. */
function messageOf(seq: number): string {
  const hash = Math.imul(seq, 2_654_435_761) >>> 0;
  return `table public.orders_${hash % 997} ${words[seq % words.length] ?? ''} ${(hash >>> 7) % 100_000} rows of ${(hash >>> 3) % 9_000_000}, ${(hash % 9_000) / 10} MB at ${seq}`;
}

function batchOf(firstSeq: number, at: string): string {
  const events = Array.from({ length: linesPerBatch }, (_, n) => {
    const seq = firstSeq + n;
    return { seq, at, type: 'log', level: seq % 50 === 0 ? 'info' : 'debug', message: messageOf(seq) };
  });
  return JSON.stringify(events);
}

/** Fills an empty state with ended jobs that have said `lines` together. Answers their ids. */
export async function fillState(state: string, lines: number, signal: AbortSignal): Promise<string[]> {
  const logger = pino({ level: 'silent' });
  const manager = await JobManager.open({
    state,
    secretKey,
    concurrency: 1,
    pgBinDir: null,
    logger,
    role: 'foreground',
  });
  const ids: string[] = [];
  try {
    for (let n = 0; n * linesPerJob < lines; n += 1) {
      const endpoint = (name: string) => ({ url: `postgres://user:word@127.0.0.1:1/${name}` });
      const request = { source: endpoint('old'), target: endpoint(`old_${n}`), name: `old ${n}` };
      ids.push((await manager.create(JobRequest.parse(request))).id);
    }
  } finally {
    await manager.stop('filled');
  }
  const store = await Store.open({ state, secretKey, role: 'foreground' });
  try {
    const at = new Date().toISOString();
    for (const id of ids) {
      await store.db.execute(sql`delete from pgsluice.job_event_batches where job_id = ${id}`);
      for (let first = 1; first <= linesPerJob; first += linesPerBatch * batchesPerStatement) {
        signal.throwIfAborted();
        const rows = Array.from({ length: batchesPerStatement }, (_, n) => {
          const from = first + n * linesPerBatch;
          const text = batchOf(from, at);
          return sql`(${id}, ${from}::bigint, ${from + linesPerBatch - 1}::bigint, ${at}::timestamptz, ${text.length}::integer, ${text}::text)`;
        });
        await store.db.execute(
          sql`insert into pgsluice.job_event_batches (job_id, first_seq, last_seq, at, characters, events) values ${sql.join(rows, sql`, `)}`,
        );
      }
      await store.db.execute(
        sql`update pgsluice.jobs set state = 'completed', last_seq = ${linesPerJob}, finished_at = now(), started_at = now() where id = ${id}`,
      );
    }
    // As the agent does it every few minutes, and a server by itself.
    if (store.kind === 'postgresql') await store.db.execute(sql`vacuum analyze`);
    else await store.vacuum();
  } finally {
    await store.close();
  }
  return ids;
}
