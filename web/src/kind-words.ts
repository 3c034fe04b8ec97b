import type { TableState } from '../../src/contract/event.ts';
import type { JobView } from '../../src/contract/job.ts';
import type { JobKind } from '../../src/contract/options.ts';

/** What a job is called by what it does. */
export interface KindWords {
  /** `migration`, `export`, `import`. */
  readonly task: string;
  /** Third step. */
  readonly step: string;
  /** State `running`. */
  readonly running: string;
  /** What the checks look at. */
  readonly looksAt: string;
  readonly table: Readonly<Record<TableState, string>>;
  /** Past participle of what is done to the rows. */
  readonly done: string;
  /** What a cancelled job leaves. */
  readonly cancelled: string;
  /** Why the result cannot be used when the job ended early. */
  readonly incomplete: string;
  /** Nothing was begun. */
  readonly untouched: string;
}

const tableWords = { pending: 'Waiting', failed: 'Failed', skipped: 'Left out' } as const;

const words: Readonly<Record<JobKind, KindWords>> = {
  move: {
    task: 'migration',
    step: 'Migrate',
    running: 'Migrating',
    looksAt: 'both servers',
    table: { ...tableWords, copying: 'Copying', copied: 'Copied' },
    done: 'copied',
    cancelled:
      'The source stays as it is. The target keeps what has been copied so far and is not complete; the log will say in which state it is.',
    incomplete: 'The target is not complete. Do not use it.',
    untouched: 'The target was not touched.',
  },
  export: {
    task: 'export',
    step: 'Export',
    running: 'Exporting',
    looksAt: 'the source and the place of the archive',
    table: { ...tableWords, copying: 'Saving', copied: 'Saved' },
    done: 'saved',
    cancelled: 'The source stays as it is. What has been written so far is removed, so there will be no archive.',
    incomplete: 'There is no archive: it gets its name only when it is whole.',
    untouched: 'Nothing was written.',
  },
  import: {
    task: 'import',
    step: 'Import',
    running: 'Importing',
    looksAt: 'the archive and the target',
    table: { ...tableWords, copying: 'Loading', copied: 'Loaded' },
    done: 'loaded',
    cancelled:
      'The archive stays as it is. The target keeps what has been loaded so far and is not complete; the log will say in which state it is.',
    incomplete: 'The target is not complete. Do not use it.',
    untouched: 'The target was not touched.',
  },
};

export function kindWords(job: Pick<JobView, 'kind'>): KindWords {
  return words[job.kind];
}
