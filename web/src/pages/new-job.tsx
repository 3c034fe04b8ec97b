import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { api, toApiError, type ApiError } from '../api.ts';
import { EndpointFields } from '../components/endpoint-fields.tsx';
import { Field } from '../components/field.tsx';
import { MethodFields } from '../components/method-fields.tsx';
import { OptionsFields } from '../components/options-fields.tsx';
import { ProblemNote } from '../components/parts.tsx';
import { Steps } from '../components/steps.tsx';
import { emptyEndpoint, endpointProblems, fromEndpointView, toEndpointInput, type EndpointForm } from '../endpoint.ts';
import { defaultOptions, fromOptions, optionsProblems, toOptions, type OptionsForm } from '../job-options.ts';
import { goTo, jobHref } from '../router.ts';

interface Draft {
  readonly name: string;
  readonly source: EndpointForm;
  readonly target: EndpointForm;
  readonly options: OptionsForm;
}

const emptyDraft: Draft = { name: '', source: emptyEndpoint, target: emptyEndpoint, options: defaultOptions };

/** What was last sent, with its passwords, so that a blocked job is corrected without typing them again. In memory only. */
let lastSent: { readonly jobId: string; readonly draft: Draft } | null = null;

/** Step 1. `from` names a job whose settings are taken over. */
export function NewJobPage({ from }: { from: string | null }) {
  const draft = useSignal<Draft>(lastSent !== null && lastSent.jobId === from ? lastSent.draft : emptyDraft);
  const passwordsMissing = useSignal(false);
  const shown = useSignal(false);
  const sending = useSignal(false);
  const problem = useSignal<ApiError | null>(null);

  useEffect(() => {
    document.title = 'New migration · pgsluice';
    if (from === null || lastSent?.jobId === from) return;
    const takeOver = async (): Promise<void> => {
      try {
        const job = await api.getJob(from);
        draft.value = {
          name: job.name,
          source: job.source === null ? emptyEndpoint : fromEndpointView(job.source),
          target: job.target === null ? emptyEndpoint : fromEndpointView(job.target),
          options: fromOptions(job.options),
        };
        passwordsMissing.value = [job.source, job.target].some((side) => side?.hasPassword === true);
      } catch (error) {
        problem.value = toApiError(error);
      }
    };
    void takeOver();
  }, [from]);

  const { name, source, target, options } = draft.value;
  const found = {
    source: endpointProblems(source),
    target: endpointProblems(target),
    options: optionsProblems(options),
  };
  const problems = shown.value ? found : { source: {}, target: {}, options: {} };
  const side = problem.value === null ? null : sideOf(problem.value);

  const submit = async (): Promise<void> => {
    shown.value = true;
    problem.value = null;
    if (Object.values(found).some((group) => Object.keys(group).length > 0)) {
      requestAnimationFrame(() => document.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus());
      return;
    }
    sending.value = true;
    try {
      const job = await api.createJob({
        ...(name.trim() === '' ? {} : { name: name.trim() }),
        source: toEndpointInput(source),
        target: toEndpointInput(target),
        options: toOptions(options),
      });
      lastSent = { jobId: job.id, draft: draft.value };
      if (job.state === 'draft') await api.act(job.id, 'validate');
      goTo(jobHref(job.id, 'validate'));
    } catch (error) {
      problem.value = toApiError(error);
    } finally {
      sending.value = false;
    }
  };

  return (
    <div class="page">
      <Steps current="configure" job={null} />
      <h1>Configure a migration</h1>
      <p class="lead">Name both servers. The next step only looks; nothing is changed until you start the third.</p>
      {passwordsMissing.value && (
        <p class="note tone-info">Everything is taken over from the earlier job but its passwords: type them again.</p>
      )}
      <form
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <div class="endpoints">
          <EndpointFields
            side="source"
            title="Source"
            lead={
              options.method === 'live'
                ? 'Stays in use until the cutover. A publication and a replication slot stand on it for the time of the job.'
                : 'Is read, never changed. It stays in use all the time.'
            }
            form={source}
            problems={problems.source}
            problem={side === 'source' ? said(problem.value) : null}
            onChange={(next) => (draft.value = { ...draft.value, source: next })}
          />
          <EndpointFields
            side="target"
            title="Target"
            lead="Receives the copy. The database must exist and be empty."
            form={target}
            problems={problems.target}
            problem={side === 'target' ? said(problem.value) : null}
            onChange={(next) => (draft.value = { ...draft.value, target: next })}
          />
        </div>
        <MethodFields
          form={options}
          problems={problems.options}
          onChange={(next) => (draft.value = { ...draft.value, options: next })}
        />
        <OptionsFields
          form={options}
          problems={problems.options}
          open={hasHiddenProblem(problems.options)}
          onChange={(next) => (draft.value = { ...draft.value, options: next })}
        />
        <div class="card">
          <Field id="name" label="Name of the job" hint="How you find it again. Empty: made from both databases.">
            {(aria) => (
              <input
                {...aria}
                type="text"
                maxLength={200}
                autocomplete="off"
                value={name}
                onInput={(event) => (draft.value = { ...draft.value, name: event.currentTarget.value })}
              />
            )}
          </Field>
        </div>
        {problem.value !== null && side === null && <ProblemNote problem={problem.value} />}
        <div class="form-end">
          <button type="submit" class="primary" data-testid="run-validation" disabled={sending.value}>
            {sending.value ? 'Handing it to the agent…' : 'Validate both servers'}
          </button>
          <span class="muted">Only reads. Takes a few seconds.</span>
        </div>
      </form>
    </div>
  );
}

/** Which server the agent's refusal is about: its sentences name the side, its fields begin with it. */
function sideOf(problem: ApiError): 'source' | 'target' | null {
  const match = /^(?:the )?(source|target)\b/i.exec(problem.message);
  const side = match?.[1]?.toLowerCase();
  return side === 'source' || side === 'target' ? side : null;
}

function said(problem: ApiError | null): string | null {
  return problem === null ? null : `${problem.message} ${problem.hint}`.trim();
}

/** Fields that stand open, or in a part that opens itself. */
const seen: ReadonlySet<string> = new Set(['disk', 'cutoverTimeout', 'slotWarn', 'slotLimit', 'webhook']);

function hasHiddenProblem(problems: Partial<Record<keyof OptionsForm, string>>): boolean {
  return Object.keys(problems).some((name) => !seen.has(name));
}
