import type { Application, Report } from '../contract/report.ts';
import type { JobOptions } from '../contract/options.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import type { ApplicationState } from '../postgres/applications/read-applications.ts';
import { applicationWords, compareApplications } from '../postgres/applications/words.ts';
import { placeName, placeOfHost } from '../postgres/places/places.ts';
import type { Sides } from './job-view.ts';
import type { JobRooms, ValidateOutcome } from './rooms.ts';

export interface LookInput {
  readonly rooms: Pick<JobRooms, 'readApplications'>;
  readonly sides: Sides;
  readonly options: JobOptions;
  readonly signal: AbortSignal;
  readonly log: (level: 'debug' | 'info' | 'warn', message: string) => void;
}

/** What stands around the data: where both sides run, and the application that they belong to. Nothing depends on it. */
export class Surroundings {
  #places: Required<Report>['places'] | null = null;
  #before: readonly ApplicationState[] | null = null;

  keep({ places, applications }: Pick<ValidateOutcome, 'places' | 'applications'>): void {
    this.#places = places ?? this.#places;
    this.#before = applications ?? this.#before;
  }

  /** The rooms, whose validations are kept. */
  watch(rooms: JobRooms): JobRooms {
    return {
      ...rooms,
      validate: async (input) => {
        const outcome = await rooms.validate(input);
        this.keep(outcome);
        return outcome;
      },
      archives: {
        ...rooms.archives,
        validateOne: async (input) => {
          const outcome = await rooms.archives.validateOne(input);
          this.keep({
            places: { source: null, target: null, [input.side]: outcome.place },
            applications: outcome.applications,
          });
          return outcome;
        },
      },
    };
  }

  /** As validation has told them, else by the hosts' names. */
  places({ source, target }: Sides): Required<Report>['places'] {
    const byHost = (side: Sides['source']): string | null => (side === null ? null : placeName(placeOfHost(side.host)));
    return { source: this.#places?.source ?? byHost(source), target: this.#places?.target ?? byHost(target) };
  }

  /** Reads both sides' migration tables once the move is over, and says in the log what they say. @throws the cancellation. */
  async applications(input: LookInput): Promise<Application[]> {
    const { sides, log } = input;
    // Nothing was there before the move.
    if (this.#before?.length === 0) return [];
    const now = await look(input, 'source', sides.source);
    const target = await look(input, 'target', sides.target);
    const compared = compareApplications([now, this.#before], target);
    for (const { sameOnTarget, unfinished, ...app } of compared) {
      const there =
        sameOnTarget === null ? '' : sameOnTarget ? '; the target says the same' : '; the target does not say the same';
      log(sameOnTarget === false ? 'warn' : 'info', `Application: ${applicationWords(app)}${there}.`);
      if (unfinished.length > 0)
        log('warn', `Migrations of ${app.framework} that did not end: ${unfinished.join(', ')}.`);
    }
    return compared.map((app) => ({ ...app, unfinished: [...app.unfinished] }));
  }
}

async function look(
  { rooms, options, signal, log }: LookInput,
  side: 'source' | 'target',
  settings: Sides['source'],
): Promise<readonly ApplicationState[] | null> {
  if (settings === null) return null;
  try {
    return await rooms.readApplications({ settings, side, options, signal });
  } catch (error) {
    throwIfAborted(signal);
    if (!(error instanceof PgsluiceError)) throw error;
    log('debug', `The ${side}'s migration tables could not be read: ${error.message}`);
    return null;
  }
}
