import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { JobKind } from '../../../src/contract/options.ts';
import { api, toApiError, type ApiError } from '../api.ts';
import { EndpointFields } from '../components/endpoint-fields.tsx';
import { HookFields } from '../components/hook-fields.tsx';
import { TextField } from '../components/inputs.tsx';
import { ArchiveFields, DatabasesFields, KindFields } from '../components/kind-fields.tsx';
import { MethodFields } from '../components/method-fields.tsx';
import { OptionsFields } from '../components/options-fields.tsx';
import { ProblemNote } from '../components/parts.tsx';
import { Steps } from '../components/steps.tsx';
import { draftOf, draftProblems, emptyDraft, hasProblems, noProblems, toOrder, type Draft } from '../job-draft.ts';
import type { OptionProblems } from '../option-problems.ts';
import { goTo, groupHref, jobHref } from '../router.ts';
// oxlint-disable-next-line import/no-unassigned-import -- the style sheet of this page is loaded with it
import './configure.css';

/** What was last sent, with its passwords, so that a blocked job is corrected without typing them again. In memory only. */
let lastSent: { readonly jobId: string; readonly draft: Draft } | null = null;

const titles: Record<JobKind, { readonly title: string; readonly lead: string; readonly name: string }> = {
  move: {
    title: 'Configure a migration',
    lead: 'Name both servers. The next step only looks; nothing is changed until you start the third.',
    name: 'How you find it again. Empty: made from both databases.',
  },
  export: {
    title: 'Configure an export',
    lead: 'Name the server and where the archive goes. The next step only looks; nothing is written until you start the third.',
    name: 'How you find it again. Empty: made from the database and the archive.',
  },
  import: {
    title: 'Configure an import',
    lead: 'Name the archive and the server. The next step only looks; nothing is changed until you start the third.',
    name: 'How you find it again. Empty: made from the archive and the database.',
  },
};

/** Step 1. `from` names a job whose settings are taken over. */
export function NewJobPage({ from }: { from: string | null }) {
  const draft = useSignal<Draft>(lastSent !== null && lastSent.jobId === from ? lastSent.draft : emptyDraft);
  const passwordsMissing = useSignal(false);
  const shown = useSignal(false);
  const sending = useSignal(false);
  const problem = useSignal<ApiError | null>(null);
  const commandsAllowed = useSignal<boolean | null>(null);

  useEffect(() => {
    document.title = 'New migration · pgsluice';
    const ask = async (): Promise<void> => {
      try {
        commandsAllowed.value = (await api.agent()).allowCommands;
      } catch {
        // Not known: then programs are not offered, and the agent still judges what is sent.
        commandsAllowed.value = null;
      }
    };
    void ask();
    if (from === null || lastSent?.jobId === from) return;
    const takeOver = async (): Promise<void> => {
      try {
        const job = await api.getJob(from);
        draft.value = draftOf(job);
        passwordsMissing.value = [job.source, job.target].some((side) => side?.hasPassword === true);
      } catch (error) {
        problem.value = toApiError(error);
      }
    };
    void takeOver();
  }, [from]);

  const set = (part: Partial<Draft>): void => {
    draft.value = { ...draft.value, ...part };
  };
  const { name, kind, archive, source, target, databases, options } = draft.value;
  const found = draftProblems(draft.value);
  const problems = shown.value ? found : noProblems;
  const about = problem.value === null ? null : sideOf(problem.value);
  const words = titles[kind];
  const several = kind === 'move' && databases.scope !== 'one';

  const submit = async (): Promise<void> => {
    shown.value = true;
    problem.value = null;
    if (hasProblems(found)) {
      requestAnimationFrame(() => document.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus());
      return;
    }
    sending.value = true;
    try {
      goTo(await hand(draft.value));
    } catch (error) {
      problem.value = toApiError(error);
    } finally {
      sending.value = false;
    }
  };

  const archiveCard = kind !== 'move' && (
    <ArchiveFields
      kind={kind}
      path={archive}
      problem={problems.archive ?? (about === 'archive' ? said(problem.value) : null)}
      onChange={(path) => set({ archive: path })}
    />
  );
  return (
    <div class="page">
      <Steps current="configure" job={null} kind={kind} />
      <h1>{words.title}</h1>
      <p class="lead">{words.lead}</p>
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
        <KindFields kind={kind} onChange={(next) => set({ kind: next })} />
        <div class="endpoints">
          {kind === 'import' && archiveCard}
          {kind !== 'import' && (
            <EndpointFields
              side="source"
              title="Source"
              lead={
                kind === 'move' && options.method === 'live'
                  ? 'Stays in use until the cutover. A publication and a replication slot stand on it for the time of the job.'
                  : 'Is read, never changed. It stays in use all the time.'
              }
              form={source}
              problems={problems.source}
              problem={about === 'source' ? said(problem.value) : null}
              onChange={(next) => set({ source: next })}
            />
          )}
          {kind === 'export' && archiveCard}
          {kind !== 'export' && (
            <EndpointFields
              side="target"
              title="Target"
              lead={
                several
                  ? 'Receives the copies. A database that exists there must be empty.'
                  : options.createDatabase
                    ? 'Receives the copy. The database is created if it is missing, else it must be empty.'
                    : 'Receives the copy. The database must exist and be empty.'
              }
              form={target}
              problems={problems.target}
              problem={about === 'target' ? said(problem.value) : null}
              onChange={(next) => set({ target: next })}
            />
          )}
        </div>
        {kind === 'move' && (
          <>
            <DatabasesFields
              form={databases}
              problem={problems.databases}
              createDatabase={options.createDatabase}
              onChange={(next) => set({ databases: next })}
              onCreateDatabase={(createDatabase) => set({ options: { ...options, createDatabase } })}
            />
            <MethodFields form={options} problems={problems.options} onChange={(next) => set({ options: next })} />
          </>
        )}
        <OptionsFields
          kind={kind}
          several={several}
          form={options}
          problems={problems.options}
          open={hasHiddenProblem(problems.options)}
          onChange={(next) => set({ options: next })}
        />
        <HookFields
          hooks={options.hooks}
          kind={kind}
          live={options.method === 'live'}
          commandsAllowed={commandsAllowed.value}
          problem={problems.options.hooks}
          onChange={(hooks) => set({ options: { ...options, hooks } })}
        />
        <div class="card">
          <TextField
            id="name"
            label="Name of the job"
            hint={words.name}
            prose
            maxLength={200}
            value={name}
            onInput={(next) => set({ name: next })}
          />
        </div>
        {problem.value !== null && about === null && <ProblemNote problem={problem.value} />}
        <div class="form-end">
          <button type="submit" class="primary" data-testid="run-validation" disabled={sending.value}>
            {sending.value ? 'Handing it to the agent…' : buttonWord(kind, several)}
          </button>
          <span class="muted">Only reads. Takes a few seconds.</span>
        </div>
      </form>
    </div>
  );
}

/** Has the agent make and check what is asked for; answers the address where that is seen. */
async function hand(draft: Draft): Promise<string> {
  const order = toOrder(draft);
  if (order.makes === 'group') {
    const group = await api.createGroup(order.request);
    await api.actOnGroup(group.id, 'validate');
    return groupHref(group.id);
  }
  const job = await api.createJob(order.request);
  lastSent = { jobId: job.id, draft };
  if (job.state === 'draft') await api.act(job.id, 'validate');
  return jobHref(job.id, 'validate');
}

function buttonWord(kind: JobKind, several: boolean): string {
  if (kind === 'export') return 'Validate the source';
  if (kind === 'import') return 'Validate archive and target';
  return several ? 'Validate every database' : 'Validate both servers';
}

/** What the agent's refusal is about: its sentences name the side, its fields begin with it. */
function sideOf(problem: ApiError): 'source' | 'target' | 'archive' | null {
  const side = /^(?:the )?(source|target|archive)\b/i.exec(problem.message)?.[1]?.toLowerCase();
  return side === 'source' || side === 'target' || side === 'archive' ? side : null;
}

function said(problem: ApiError | null): string | null {
  return problem === null ? null : `${problem.message} ${problem.hint}`.trim();
}

/** Fields that stand open, or in a part that opens itself. */
const seen: ReadonlySet<string> = new Set(['disk', 'cutoverTimeout', 'slotWarn', 'slotLimit', 'webhook', 'hooks']);

function hasHiddenProblem(problems: OptionProblems): boolean {
  return Object.keys(problems).some((name) => !seen.has(name));
}
