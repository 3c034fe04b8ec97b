import { setTimeout as sleep } from 'node:timers/promises';
import PQueue from 'p-queue';
import type { Logger } from 'pino';
import { LIVE_CONNECTIONS } from '../checks/headroom.ts';
import { findGroup, groupRows } from '../store/group-queries.ts';
import type { JobRow } from '../store/job-queries.ts';
import type { Store } from '../store/store.ts';
import { readRoom } from './group-databases.ts';
import { groupShare, groupWidth, type Room } from './group-plan.ts';
import type { Sides } from './job-view.ts';
import type { Facts, JobRooms } from './rooms.ts';

export interface PlacesInput {
  readonly store: Store;
  readonly logger: Logger;
  /** How many jobs of one group may run at once at most; at least 1. */
  readonly most: number;
  /** Runs a task when the agent has a place for it. */
  enter(task: () => Promise<void>): Promise<void>;
}

/** A member in the hands of this agent. */
export interface Member {
  readonly row: Pick<JobRow, 'id' | 'groupId'>;
  readonly sides: Sides;
  stage(): 'queued' | 'active' | 'held' | 'over';
}

interface Places {
  readonly queue: PQueue;
  readonly members: Map<string, Member>;
  /** Members whose turn it is; one that follows its source has left its place. */
  readonly running: Set<string>;
  room: Room | null;
}

/** Counting connections before the first member begins, in ms. */
const MEASURE_MS = 20_000;
/** How long an order to a member waits for it to begin, in ms. */
const BEGIN_MS = 3_000;

/**
 * The order in which jobs of a group run, and how they divide what both servers let them have: what is free is counted while
 * none of them runs, because what one has not taken yet would look free to the next. A job of no group passes through.
 */
export class GroupPlaces {
  readonly #input: PlacesInput;
  readonly #groups = new Map<string, Places>();
  readonly #groupOf = new Map<string, string>();

  constructor(input: PlacesInput) {
    this.#input = input;
  }

  join(member: Member): void {
    const { id, groupId } = member.row;
    if (groupId === null) return;
    this.#groupOf.set(id, groupId);
    this.#of(groupId).members.set(id, member);
  }

  leave(id: string): void {
    const group = this.#groupOf.get(id);
    const places = this.#placesOf(id);
    this.#groupOf.delete(id);
    places?.members.delete(id);
    if (group !== undefined && places?.members.size === 0) this.#groups.delete(group);
  }

  /** Resolves when the job's turn is over. */
  async enter(id: string, task: () => Promise<void>): Promise<void> {
    const places = this.#placesOf(id);
    const member = places?.members.get(id);
    if (places === undefined || member === undefined) return await this.#input.enter(task);
    await places.queue.add(async () => {
      if (member.stage() !== 'queued') return;
      places.running.add(id);
      try {
        if (places.running.size === 1 && following(places) === 0) {
          places.room = await this.#measure(member);
          places.queue.concurrency = places.room === null ? 1 : groupWidth(places.room, this.#input.most);
        }
        await this.#input.enter(task);
      } finally {
        places.running.delete(id);
      }
    });
  }

  /** Resolves when the run of a job has begun; sooner where it waits for its turn. */
  async begun(id: string, begun: Promise<void>): Promise<void> {
    const places = this.#placesOf(id);
    if (places === undefined) return await begun;
    // It may have its turn in the group and yet wait for a place of the agent.
    if (places.queue.size === 0) await Promise.race([begun, sleep(BEGIN_MS, undefined, { ref: false })]);
  }

  /** While it holds, no further member's turn comes. */
  hold(group: string, holds: boolean): void {
    const places = this.#groups.get(group);
    if (holds) places?.queue.pause();
    else places?.queue.start();
  }

  /** The rooms as a member is given them: validation tells it what it may take, and is told how many slots the group needs. */
  rooms(row: Pick<JobRow, 'id' | 'groupId'>, rooms: JobRooms): JobRooms {
    const { id, groupId } = row;
    if (groupId === null) return rooms;
    return {
      ...rooms,
      validate: async (input) => {
        const outcome = await rooms.validate({ ...input, slotsNeeded: await this.#slotsNeeded(id, groupId) });
        return { ...outcome, facts: outcome.facts === null ? null : this.#shared(id, outcome.facts) };
      },
      live: {
        ...rooms.live,
        readFacts: async (input) => this.#shared(id, await rooms.live.readFacts(input)),
      },
    };
  }

  #shared(id: string, facts: Facts): Facts {
    const places = this.#placesOf(id);
    if (places === undefined || places.room === null) return facts;
    const share = groupShare(places.room, places.queue.concurrency, following(places), LIVE_CONNECTIONS);
    const of = (side: 'source' | 'target') => ({
      ...facts[side],
      connectionsAvailable: Math.min(facts[side].connectionsAvailable, share[side]),
    });
    return { ...facts, source: of('source'), target: of('target') };
  }

  /** Members that may still make a slot, this one included: one that is begun must not take another's last one. */
  async #slotsNeeded(id: string, group: string): Promise<number> {
    const over: ReadonlySet<JobRow['state']> = new Set(['completed', 'failed', 'blocked', 'cancelled']);
    const rows = await groupRows(this.#input.store.db, group);
    return rows.filter((row) => row.id === id || (row.live === null && !over.has(row.state))).length;
  }

  /** null: they cannot be counted; the member's own validation says why. */
  async #measure({ row, sides }: Member): Promise<Room | null> {
    const { store, logger } = this.#input;
    const { source, target } = sides;
    if (source === null || target === null) return null;
    try {
      const group = await findGroup(store.db, row.groupId ?? '');
      return await readRoom(
        { ...source, database: group?.source.database ?? source.database },
        { ...target, database: group?.target.database ?? target.database },
        AbortSignal.timeout(MEASURE_MS),
      );
    } catch (error) {
      logger.warn({ group: row.groupId, err: error }, 'the connections that a group may share could not be counted');
      return null;
    }
  }

  #placesOf(id: string): Places | undefined {
    return this.#groups.get(this.#groupOf.get(id) ?? '');
  }

  #of(group: string): Places {
    const known = this.#groups.get(group);
    if (known !== undefined) return known;
    // One alone until it is known how many there is room for.
    const places: Places = {
      queue: new PQueue({ concurrency: 1 }),
      members: new Map(),
      running: new Set(),
      room: null,
    };
    this.#groups.set(group, places);
    return places;
  }
}

/** Members that run without a place. */
function following({ members, running }: Places): number {
  return [...members.values()].filter((member) => member.stage() === 'active' && !running.has(member.row.id)).length;
}
