import type { JobView } from '../../../src/contract/job.ts';
import type { JobKind } from '../../../src/contract/options.ts';
import { kindWords } from '../kind-words.ts';
import { jobHref } from '../router.ts';

export type Step = 'configure' | 'validate' | 'migrate';

const words = { configure: 'Configure', validate: 'Validate' } as const;
const order: readonly Step[] = ['configure', 'validate', 'migrate'];

function reached(step: Step, job: JobView | null): boolean {
  if (step === 'configure') return true;
  if (job === null) return false;
  return step === 'validate' || job.startedAt !== null || job.state === 'ready';
}

interface StepsProps {
  readonly current: Step;
  readonly job: JobView | null;
  /** Of a job that is not made yet. */
  readonly kind?: JobKind;
}

/** The three steps; those that have been reached are links. */
export function Steps({ current, job, kind = job?.kind ?? 'move' }: StepsProps) {
  const wordOf = (step: Step): string => (step === 'migrate' ? kindWords({ kind }).step : words[step]);
  return (
    <nav aria-label="Steps" class="steps">
      <ol>
        {order.map((step, index) => {
          const number = <span class="step-number">{index + 1}</span>;
          const href =
            step === 'configure' ? (job === null ? '#/new' : `#/new/from/${encodeURIComponent(job.id)}`) : '';
          const target = step === 'configure' ? href : job === null ? '' : jobHref(job.id, step);
          return (
            <li key={step} data-current={step === current ? '' : undefined}>
              {step === current || !reached(step, job) ? (
                <span aria-current={step === current ? 'step' : undefined}>
                  {number}
                  {wordOf(step)}
                </span>
              ) : (
                <a href={target}>
                  {number}
                  {wordOf(step)}
                </a>
              )}
            </li>
          );
        })}
      </ol>
    </nav>
  );
}
