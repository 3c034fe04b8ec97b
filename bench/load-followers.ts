import { Followers } from '../test/support/followers.ts';

/** What the parent asks for, one message after the other. */
export type Ask =
  | { readonly do: 'open'; readonly url: string; readonly token: string }
  | { readonly do: 'follow'; readonly job: string; readonly reads: boolean; readonly cutAfter: number | null }
  | { readonly do: 'tell' };

export interface Told {
  readonly connected: number;
  readonly events: number;
  readonly faults: readonly string[];
  /** Of those who read: the job, the last seq, how many events, how often it was told to begin anew, how often it connected. */
  readonly readers: readonly (readonly [string, number, number, number, number])[];
}

// A process of its own, so that a thousand clients do not delay the one who measures the API.
let followers: Followers | null = null;

async function answer(ask: Ask): Promise<Told | null> {
  if (ask.do === 'open') {
    followers = new Followers({ url: ask.url, token: ask.token });
    return null;
  }
  if (followers === null) throw new Error('open comes first');
  if (ask.do === 'follow') {
    await followers.add(ask.job, { reads: ask.reads, cutAfter: ask.cutAfter ?? Infinity });
    return null;
  }
  const { all, connected, events } = followers;
  return {
    connected,
    events,
    faults: all.flatMap(({ job, fault }) => (fault === null ? [] : [`${job}: ${fault}`])),
    readers: all
      .filter(({ reads }) => reads)
      .map((one) => [one.job, one.cursor, one.events, one.resets, one.connections] as const),
  };
}

process.on('message', (ask: Ask) => {
  answer(ask).then(
    (told) => process.send?.(told ?? 'done'),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));
