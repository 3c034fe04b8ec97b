import type { ComponentChildren } from 'preact';
import type { JobView } from '../../../src/contract/job.ts';
import { stateBadge, type Tone } from '../words.ts';
import { Icon, type IconName } from './icon.tsx';

const toneIcons: Record<Tone, IconName> = {
  neutral: 'skip',
  active: 'wave',
  good: 'check',
  warn: 'warn',
  bad: 'cross',
  info: 'info',
};

export function Badge({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return (
    <span class={`badge tone-${tone}`}>
      <Icon name={toneIcons[tone]} />
      {children}
    </span>
  );
}

export function StateBadge({ job, testId }: { job: JobView; testId?: string }) {
  const { tone, word } = stateBadge(job);
  return (
    <span data-state={job.state} data-testid={testId}>
      <Badge tone={tone}>{word}</Badge>
    </span>
  );
}

/** `fraction` 0..1; `text` is what a screen reader says instead of the bare number. */
export function ProgressBar(props: { fraction: number; label: string; text: string; tone?: Tone }) {
  const share = Math.min(1, Math.max(0, props.fraction));
  return (
    <div
      class={`progress tone-${props.tone ?? 'active'}`}
      role="progressbar"
      aria-label={props.label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.floor(share * 100)}
      aria-valuetext={props.text}
    >
      <div class="progress-fill" style={{ transform: `scaleX(${share})` }} />
    </div>
  );
}

interface Problem {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

/** An error as every place shows it: what happened, what to do, and the code to search for. */
export function ProblemNote({
  problem,
  title,
  children,
}: {
  problem: Problem;
  title?: string;
  children?: ComponentChildren;
}) {
  return (
    <div class="note tone-bad" role="alert">
      <p class="note-title">
        <Icon name="cross" />
        {title ?? problem.message}
      </p>
      {title !== undefined && <p>{problem.message}</p>}
      {problem.hint !== '' && <p class="hint">{problem.hint}</p>}
      <p class="code">{problem.code}</p>
      {children}
    </div>
  );
}

/** One figure with its name. */
export function Figure({ name, value, detail }: { name: string; value: string; detail?: string }) {
  return (
    <div class="figure">
      <dt>{name}</dt>
      <dd>
        {value}
        {detail !== undefined && <small>{detail}</small>}
      </dd>
    </div>
  );
}
