import { useEffect, useRef } from 'preact/hooks';
import { useSignal } from '@preact/signals';
import type { Guardrail, LiveProgress } from '../../../src/contract/live.ts';
import type { JobView } from '../../../src/contract/job.ts';
import { Badge } from '../components/parts.tsx';
import { plural } from '../format.ts';
import type { JobSession } from '../job-session.ts';
import { guardrailStates, guardrailWords } from './words.ts';

/** Before the cutover: its conditions, and the button that asks once. */
export function CutoverCard({ session, job, live }: { session: JobSession; job: JobView; live: LiveProgress }) {
  const auto = job.options.cutover === 'auto';
  return (
    <section class="panel card" aria-labelledby="cutover-title" data-testid="cutover">
      <div class="panel-head">
        <h2 id="cutover-title">Cutover</h2>
      </div>
      <p class="muted">
        {auto
          ? 'Begins by itself as soon as every condition is OK.'
          : 'You decide when. Until then the source stays in use and the target in step.'}
      </p>
      <Guardrails guardrails={live.guardrails} />
      {job.state === 'following' && <CutoverButton session={session} job={job} guardrails={live.guardrails} />}
    </section>
  );
}

const order: Record<Guardrail['state'], number> = { blocks: 0, waits: 1, ok: 2 };

function Guardrails({ guardrails }: { guardrails: readonly Guardrail[] }) {
  if (guardrails.length === 0) return <p class="muted">The conditions are being looked at…</p>;
  const sorted = guardrails.toSorted((a, b) => order[a.state] - order[b.state]);
  return (
    <ul class="guardrails" aria-label="Conditions of the cutover">
      {sorted.map((guardrail) => {
        const { word, tone } = guardrailStates[guardrail.state];
        return (
          <li key={guardrail.id} data-testid={`guardrail-${guardrail.id}`} data-state={guardrail.state}>
            <Badge tone={tone}>{word}</Badge>
            <div>
              <p class="guardrail-name">{guardrailWords[guardrail.id]}</p>
              <p class="muted">{guardrail.found}</p>
              {guardrail.state !== 'ok' && guardrail.remedy !== '' && <p class="hint">{guardrail.remedy}</p>}
            </div>
          </li>
        );
      })}
    </ul>
  );
}

/** Asks once, in place; a second click finds nothing to press. */
function CutoverButton({
  session,
  job,
  guardrails,
}: {
  session: JobSession;
  job: JobView;
  guardrails: readonly Guardrail[];
}) {
  const asking = useSignal(false);
  const button = useRef<HTMLButtonElement>(null);
  const wasAsking = useRef(false);
  const acting = session.acting.value;
  const blocking = guardrails.filter((guardrail) => guardrail.state === 'blocks');
  const blocked = blocking.length > 0;
  useEffect(() => {
    // Whoever answers by keyboard goes on where he was.
    if (wasAsking.current && !asking.value) button.current?.focus();
    wasAsking.current = asking.value;
  }, [asking.value]);
  useEffect(() => {
    if (blocked) asking.value = false;
  }, [blocked]);
  if (acting === 'cutover') {
    return (
      <p class="cutover-begins" role="status">
        Starting the cutover…
      </p>
    );
  }
  if (asking.value) {
    return (
      <Question
        job={job}
        waiting={guardrails.filter((guardrail) => guardrail.state === 'waits').length}
        onNo={() => (asking.value = false)}
        onYes={() => {
          asking.value = false;
          void session.act('cutover');
        }}
      />
    );
  }
  return (
    <div class="cutover-start">
      <button
        ref={button}
        type="button"
        class="primary"
        data-testid="action-cutover"
        disabled={blocked || acting !== null}
        aria-describedby={blocked ? 'cutover-blocked' : undefined}
        onClick={() => (asking.value = true)}
      >
        {job.options.cutover === 'auto' ? 'Cut over now…' : 'Cut over…'}
      </button>
      {blocked && (
        <p class="field-error" id="cutover-blocked">
          {plural(blocking.length, 'condition blocks', 'conditions block')} it:{' '}
          {blocking.map((guardrail) => guardrail.found).join(' ')}
        </p>
      )}
    </div>
  );
}

interface QuestionProps {
  readonly job: JobView;
  readonly waiting: number;
  readonly onYes: () => void;
  readonly onNo: () => void;
}

function Question({ job, waiting, onYes, onNo }: QuestionProps) {
  const no = useRef<HTMLButtonElement>(null);
  useEffect(() => no.current?.focus(), []);
  return (
    <div
      class="note tone-warn question"
      role="group"
      aria-labelledby="cutover-question"
      onKeyDown={(event) => {
        if (event.key === 'Escape') onNo();
      }}
    >
      <p class="note-title" id="cutover-question">
        Hand over to the target now?
      </p>
      <ul>
        <li>Writes on the source wait; reading goes on.</li>
        <li>The target takes what is still missing, then takes over for good. The source stays read-only.</li>
        <li>
          If that is not done within {plural(job.options.cutoverTimeout, 'second')}, all is undone: writers go on as if
          nothing had happened, and the job follows on.
        </li>
        {waiting > 0 && <li>{plural(waiting, 'condition is', 'conditions are')} not calm yet, so it may be undone.</li>}
      </ul>
      <div class="actions">
        <button ref={no} type="button" onClick={onNo}>
          Not yet
        </button>
        <button type="button" class="primary" data-testid="confirm-cutover" onClick={onYes}>
          Cut over now
        </button>
      </div>
    </div>
  );
}
