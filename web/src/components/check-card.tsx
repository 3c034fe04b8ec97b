import { useSignal } from '@preact/signals';
import type { CheckResult } from '../../../src/contract/check.ts';
import { api, toApiError, type ApiError } from '../api.ts';
import { formatDate } from '../format.ts';
import type { JobSession } from '../job-session.ts';
import { isActive } from '../model.ts';
import { outcomeTones, outcomeWords } from '../words.ts';
import { CopyBlock } from './copy-button.tsx';
import { TextField } from './inputs.tsx';
import { Badge, ProblemNote } from './parts.tsx';

const sideWords: Record<CheckResult['side'], string> = {
  source: 'on the source',
  target: 'on the target',
  both: 'on both sides',
  agent: 'on the agent’s machine',
};

/** What was found, why it matters, what to paste where; a warning may be accepted here. */
export function CheckCard({ check, session }: { check: CheckResult; session: JobSession }) {
  const accepted = check.accepted ?? null;
  const tone = accepted === null ? outcomeTones[check.outcome] : 'neutral';
  return (
    <article
      class={`check-card card edge-${tone}`}
      data-testid={`check-${check.id}`}
      data-outcome={check.outcome}
      data-side={check.side}
    >
      <header>
        <Badge tone={tone}>{accepted === null ? outcomeWords[check.outcome] : 'Accepted warning'}</Badge>
        <span class="muted">{sideWords[check.side]}</span>
        <code class="code">{check.code ?? check.id}</code>
      </header>
      <p class="found">{check.found}</p>
      <p class="muted">Checked: {check.title}</p>
      {check.remedy !== '' && (
        <>
          <p class="remedy-label">What to do {check.side === 'both' ? '' : sideWords[check.side]}</p>
          <CopyBlock text={check.remedy} what={`remedy for ${check.id}`} />
        </>
      )}
      {accepted !== null && (
        <p class="accepted" data-testid="accepted">
          Accepted by <strong>{accepted.by}</strong>, <time dateTime={accepted.at}>{formatDate(accepted.at)}</time>
          {accepted.note !== '' && `: ${accepted.note}`}
        </p>
      )}
      <CheckTools check={check} session={session} />
    </article>
  );
}

/** Who accepted last in this tab, so that it is typed once. */
const nameKey = 'pgsluice-accepts-as';

/** Makes the check again; accepts its warning, or takes that back. */
function CheckTools({ check, session }: { check: CheckResult; session: JobSession }) {
  const busy = useSignal<'run' | 'accept' | 'unaccept' | null>(null);
  const asking = useSignal(false);
  const problem = useSignal<ApiError | null>(null);
  const state = session.job.value?.state;
  if (state === undefined || isActive(state)) return null;
  const accepted = (check.accepted ?? null) !== null;
  const warned = check.outcome === 'warned';
  const what = `of ${check.id}`;

  const doIt = async (name: 'run' | 'accept' | 'unaccept', call: () => Promise<CheckResult>): Promise<void> => {
    busy.value = name;
    problem.value = null;
    try {
      session.tookCheck(await call());
      asking.value = false;
      // What had the focus is gone now; its opposite has taken its place.
      const next = name === 'accept' ? 'unaccept' : name === 'unaccept' ? 'accept' : null;
      if (next !== null) {
        requestAnimationFrame(() =>
          document.querySelector<HTMLElement>(`[data-testid="${CSS.escape(`${next}-${check.id}`)}"]`)?.focus(),
        );
      }
    } catch (error) {
      problem.value = toApiError(error);
    } finally {
      busy.value = null;
    }
  };

  return (
    <>
      <div class="actions check-tools">
        <button
          type="button"
          class="small"
          data-testid={`run-${check.id}`}
          disabled={busy.value !== null}
          onClick={() => void doIt('run', () => api.runCheck(session.id, check))}
        >
          {busy.value === 'run' ? 'Checking…' : 'Check this again'}
          <span class="visually-hidden"> {what}</span>
        </button>
        {warned && !accepted && !asking.value && (
          <button
            type="button"
            class="small"
            data-testid={`accept-${check.id}`}
            disabled={busy.value !== null}
            onClick={() => (asking.value = true)}
          >
            Accept…<span class="visually-hidden"> the warning {what}</span>
          </button>
        )}
        {accepted && (
          <button
            type="button"
            class="small"
            data-testid={`unaccept-${check.id}`}
            disabled={busy.value !== null}
            onClick={() => void doIt('unaccept', () => api.unacceptCheck(session.id, check))}
          >
            {busy.value === 'unaccept' ? 'Taking it back…' : 'Take it back'}
            <span class="visually-hidden"> the acceptance {what}</span>
          </button>
        )}
      </div>
      {asking.value && warned && !accepted && (
        <AcceptForm
          check={check}
          sending={busy.value === 'accept'}
          onNo={() => (asking.value = false)}
          onYes={(words) => void doIt('accept', () => api.acceptCheck(session.id, check, words))}
        />
      )}
      {problem.value && <ProblemNote problem={problem.value} />}
    </>
  );
}

interface AcceptFormProps {
  readonly check: CheckResult;
  readonly sending: boolean;
  readonly onYes: (words: { readonly by: string; readonly note: string }) => void;
  readonly onNo: () => void;
}

function AcceptForm({ check, sending, onYes, onNo }: AcceptFormProps) {
  const by = useSignal(sessionStorage.getItem(nameKey) ?? '');
  const note = useSignal('');
  const missing = useSignal(false);
  const submit = (event: Event): void => {
    event.preventDefault();
    const name = by.value.trim();
    missing.value = name === '';
    if (name === '') {
      document.getElementById(`by-${check.id}`)?.focus();
      return;
    }
    sessionStorage.setItem(nameKey, name);
    onYes({ by: name, note: note.value.trim() });
  };
  return (
    <form class="accept" noValidate aria-label={`Accept the warning of ${check.id}`} onSubmit={submit}>
      <div class="field-grid">
        <TextField
          id={`by-${check.id}`}
          label="Your name"
          hint="Shown with the warning, here and in the report."
          prose
          focus
          maxLength={200}
          value={by.value}
          error={missing.value ? 'Say who accepts it.' : undefined}
          onInput={(value) => (by.value = value)}
        />
        <TextField
          id={`note-${check.id}`}
          label="Why (optional)"
          prose
          maxLength={2000}
          value={note.value}
          onInput={(value) => (note.value = value)}
        />
      </div>
      <div class="actions">
        <button type="submit" class="primary" data-testid={`accept-yes-${check.id}`} disabled={sending}>
          {sending ? 'Writing it down…' : 'Accept the warning'}
        </button>
        <button type="button" onClick={onNo}>
          Not now
        </button>
      </div>
    </form>
  );
}
