import type { JobActivity, SessionActivity, SideActivity } from '../../contract/activity.ts';
import type { ConnectFlags } from '../connect.ts';
import type { Context } from '../context.ts';
import { exitCodes } from '../exit.ts';
import { clean } from '../text.ts';
import { findJob } from './find-job.ts';
import { withClient } from './jobs.ts';

export interface ActivityFlags extends ConnectFlags {
  readonly json?: true;
}

/** What the sessions of a job run now; exit code 1 when neither server could be asked. */
export function showActivity(context: Context, id: string | undefined, flags: ActivityFlags): Promise<number> {
  return withClient(context, flags, async (client) => {
    const job = await findJob(client, id);
    const activity = await client.activity(job.id);
    context.output.out(flags.json ? `${JSON.stringify(activity)}\n` : activityText(activity, Date.now()));
    const sides = [activity.source, activity.target].filter((side) => side !== null);
    return sides.every((side) => side.error !== null) ? exitCodes.failed : exitCodes.done;
  });
}

/** `now`: ms since 1970. Pure. */
export function activityText(activity: JobActivity, now: number): string {
  const rate =
    activity.rate === null
      ? []
      : [`At most ${Math.round(activity.rate / 1000).toLocaleString('en-US')} kB/s from the source.`];
  return [...rate, ...sideLines('source', activity.source, now), ...sideLines('target', activity.target, now)]
    .map((line) => `${line}\n`)
    .join('');
}

function sideLines(name: string, side: SideActivity | null, now: number): string[] {
  if (side === null) return [];
  if (side.error !== null) return [`${name}: not asked. ${clean(side.error.message)} ${clean(side.error.hint)}`];
  if (side.sessions.length === 0) return [`${name}: no session of this job.`];
  return [`${name}:`, ...side.sessions.flatMap((session) => sessionLines(session, now))];
}

function sessionLines(session: SessionActivity, now: number): string[] {
  const seconds = session.querySince === null ? null : Math.max(0, (now - Date.parse(session.querySince)) / 1000);
  const since = seconds === null ? '' : ` for ${seconds.toFixed(1)} s`;
  const waits = session.waitsFor === null ? '' : `, waits for ${clean(session.waitsFor)}`;
  return [
    `  ${session.pid} ${clean(session.application)}: ${session.state}${since}${waits}`,
    ...session.blockedBy.map((who) => `    held by ${clean(who)}`),
    `    ${clean(session.query)}`,
  ];
}
