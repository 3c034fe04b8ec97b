import type { ConnectionSettings } from '../postgres/settings.ts';
import type { RunContext } from './run-job.ts';

/** A moment that a run works with: as long as it is alive a paused run can go on with it. */
export interface KeptMoment {
  readonly alive: boolean;
  /** ISO, UTC. */
  readonly takenAt: string;
}

/** What a run of kind export or import is given: as a move, but with one server, and an archive in the place of the other. */
export interface ArchiveRunContext extends Omit<RunContext, 'source' | 'target' | 'live' | 'goesOn'> {
  readonly kind: 'export' | 'import';
  /** The source of an export, the target of an import. */
  readonly server: ConnectionSettings;
  /** Absolute path on this machine: the directory that an export makes, or what an import reads. */
  readonly archive: string;
  /**
   * The moment of the source that is moved: the summary names its time, and says of a paused job that it goes on with it while it
   * is alive.
   */
  showMoment(moment: KeptMoment): void;
}
