import { failed, informed, passed } from './check.ts';
import type { Check, Scope, Verdict } from './check.ts';
import type { Database } from './database.ts';
import { readServer } from './live-facts.ts';
import type { ServerFacts } from './live-facts.ts';
import { count, listNames } from './words.ts';

const RESTART = 'and restart the source';

export function judgeStanding(inRecovery: boolean, major: number, sender: string | null): Verdict {
  if (!inRecovery) return passed('The source is a primary.');
  return failed(
    'SOURCE_IS_STANDBY',
    `The source is a standby${major < 16 ? `, and PostgreSQL ${major} cannot decode changes there` : ''}: publications are made and writes are stopped on the primary.`,
    `Name the primary as the source${sender === null ? '' : ` (${sender})`}, or use --method copy.`,
  );
}

/** Where a standby gets its WAL from: shown to those with pg_read_all_stats only. */
const SENDER = `SELECT to_jsonb(r)->>'sender_host' AS host FROM pg_stat_wal_receiver r`;

const standby: Check = {
  id: 'live.standby',
  severity: 'blocks',
  title: 'The source is a primary: a standby cannot be followed to a cutover.',
  needs: 'source',
  run: async (source) => {
    const { inRecovery } = source.identity;
    const [row] = inRecovery ? await source.session.query<{ host: string | null }>(SENDER) : [];
    return judgeStanding(inRecovery, source.version.major, row?.host ?? null);
  },
};

/** How a server of this major sends a large transaction by pgoutput (documentation, 55.5: streaming since protocol 2). Pure. */
export function judgeVersion(major: number): Verdict {
  if (major >= 14) return passed(`PostgreSQL ${major} sends large transactions while they run (pgoutput protocol 2).`);
  return informed(
    `PostgreSQL ${major} sends a large transaction as a whole after its commit (pgoutput protocol 1), so the target lags behind until it is over there as well.`,
    'Keep transactions of millions of rows away from the hours of the cutover.',
  );
}

const sourceVersion: Check = {
  id: 'live.source-version',
  severity: 'informs',
  title: 'How the source sends its changes.',
  needs: 'source',
  run: (source) => Promise.resolve(judgeVersion(source.version.major)),
};

const onSource = (
  head: Pick<Check, 'id' | 'severity' | 'title'>,
  judge: (facts: ServerFacts, source: Database, scope: Scope) => Verdict,
): Check => ({
  ...head,
  needs: 'source',
  run: async (source, scope) => judge(await readServer(source), source, scope),
});

/** `the job needs one`, or how many the jobs that were made together do. Pure. */
function needsWords(needed: number): string {
  return needed === 1 ? 'the job needs one' : `the ${needed} jobs of this group need one each`;
}

export function judgeWalLevel(level: string, provider: string | null): Verdict {
  if (level === 'logical') return passed('wal_level is logical.');
  const where =
    provider === null
      ? `ALTER SYSTEM SET wal_level = logical; -- as a superuser, ${RESTART}`
      : `-- set ${provider} to on in the provider's settings, ${RESTART}`;
  return failed('WAL_LEVEL_TOO_LOW', `wal_level is ${level}: the source's WAL does not hold what following needs.`, [
    { text: where, need: 'wal-level' },
    { text: '-- or use --method copy' },
  ]);
}

const walLevel = onSource(
  { id: 'live.wal-level', severity: 'blocks', title: 'The source writes WAL from which changes can be read.' },
  (facts) => judgeWalLevel(facts.walLevel, facts.provider),
);

export function judgeSlots(max: number, used: number, idle: readonly string[], needed = 1): Verdict {
  const found = `${used} of ${count(max, 'replication slot')} (max_replication_slots) ${used === 1 ? 'is' : 'are'} taken`;
  if (used + needed <= max) return passed(`${found}; ${needsWords(needed)}.`);
  return failed(
    'NO_SLOT_LEFT',
    `${found}, and ${needsWords(needed)}.${idle.length > 0 ? ` Nobody uses ${listNames(idle)} at the moment.` : ''}`,
    [
      ...idle.slice(0, 5).map((name) => ({
        text: `SELECT pg_drop_replication_slot('${name}'); -- only when nothing needs it any more`,
      })),
      {
        text: `ALTER SYSTEM SET max_replication_slots = ${Math.max(max, used + needed - 1) + 4}; -- ${RESTART}`,
        need: 'max-slots',
      },
    ],
  );
}

const slots = onSource(
  { id: 'live.slots', severity: 'blocks', title: 'The source has a replication slot left.' },
  (facts, _source, { slotsNeeded }) => judgeSlots(facts.maxSlots, facts.slots, facts.idleSlots, slotsNeeded),
);

export function judgeSenders(max: number, used: number, needed = 1): Verdict {
  const found = `${used} of ${count(max, 'sender')} (max_wal_senders) ${used === 1 ? 'is' : 'are'} in use`;
  if (used + needed <= max) return passed(`${found}; ${needsWords(needed)}.`);
  return failed('NO_SENDER_LEFT', `${found}, and ${needsWords(needed)}.`, [
    {
      text: `ALTER SYSTEM SET max_wal_senders = ${Math.max(max, used + needed - 1) + 4}; -- ${RESTART}`,
      need: 'max-slots',
    },
  ]);
}

const senders = onSource(
  { id: 'live.senders', severity: 'blocks', title: 'The source has a WAL sender left.' },
  (facts, _source, { slotsNeeded }) => judgeSenders(facts.maxSenders, facts.senders, slotsNeeded),
);

/** The list is of library names, divided by commas, with no wildcard; it binds superusers as well. Minor releases of August 2026 on. */
export function judgeOutputPlugins(list: string | null): Verdict {
  if (list === null) return passed('This server has no list of allowed output plugins.');
  const names = list.split(',').map((name) => name.trim().replace(/^"(.*)"$/, '$1'));
  if (names.includes('pgoutput')) return passed(`output_plugin_libraries allows pgoutput (${list}).`);
  return failed(
    'OUTPUT_PLUGIN_REFUSED',
    `output_plugin_libraries is '${list}', which leaves out pgoutput: no slot can be made with it.`,
    `ALTER SYSTEM SET output_plugin_libraries = '${[...names.filter((name) => name !== ''), 'pgoutput'].join(', ')}'; SELECT pg_reload_conf(); -- as a superuser`,
  );
}

const outputPlugins = onSource(
  { id: 'live.output-plugins', severity: 'blocks', title: 'The source allows its output plugin pgoutput.' },
  (facts) => judgeOutputPlugins(facts.plugins),
);

export const liveServerChecks: readonly Check[] = [standby, sourceVersion, walLevel, slots, senders, outputPlugins];
