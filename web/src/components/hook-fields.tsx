import type { HookMoment, JobKind } from '../../../src/contract/options.ts';
import type { HookForm } from '../job-options.ts';
import { hookProblem } from '../option-problems.ts';
import { Field } from './field.tsx';
import { LinesField, TextField } from './inputs.tsx';
import { Select } from './select.tsx';

const moments: readonly { readonly value: HookMoment; readonly label: string }[] = [
  { value: 'after-validate', label: 'After the validation' },
  { value: 'before-cutover', label: 'Before the cutover' },
  { value: 'after-cutover', label: 'After the cutover' },
  { value: 'completed', label: 'When it is completed' },
  { value: 'failed', label: 'When it has failed' },
];
const ways: readonly { readonly value: HookForm['does']; readonly label: string }[] = [
  { value: 'webhook', label: 'Call an address' },
  { value: 'command', label: 'Run a program' },
];

interface HookFieldsProps {
  readonly hooks: readonly HookForm[];
  readonly kind: JobKind;
  readonly live: boolean;
  /** null while the agent has not said whether it runs programs. */
  readonly commandsAllowed: boolean | null;
  readonly problem: string | undefined;
  readonly onChange: (hooks: readonly HookForm[]) => void;
}

/** What of the user's own is told of the job, and when. */
export function HookFields({ hooks, kind, live, commandsAllowed, problem, onChange }: HookFieldsProps) {
  const change = (index: number, part: Partial<HookForm>): void =>
    onChange(hooks.map((hook, at) => (at === index ? { ...hook, ...part } : hook)));
  const offered = moments.filter(({ value }) => (kind === 'move' && live) || !value.endsWith('-cutover'));
  return (
    <fieldset class="card">
      <legend>Hooks</legend>
      <details open={hooks.length > 0}>
        <summary>Tell something of yours when the job gets somewhere</summary>
        <p class="field-hint">
          An address gets a signed POST and is tried again when it does not answer. Nothing that is sent holds a
          password.
          {commandsAllowed === false &&
            ' This agent runs no programs; whoever starts it with --allow-commands lets jobs name them.'}
        </p>
        {hooks.map((hook, index) => {
          const wrong = problem === undefined ? undefined : (hookProblem(hook) ?? undefined);
          return (
            <div class="hook" key={index} role="group" aria-label={`Hook ${index + 1}`}>
              <div class="field-grid">
                <Field id={`hook-${index}-on`} label="When">
                  {(aria) => (
                    <Select
                      {...aria}
                      data-testid={`hook-${index}-on`}
                      value={hook.on}
                      options={offered.some(({ value }) => value === hook.on) ? offered : moments}
                      onChange={(on) => change(index, { on })}
                    />
                  )}
                </Field>
                {(commandsAllowed === true || hook.does === 'command') && (
                  <Field id={`hook-${index}-does`} label="What">
                    {(aria) => (
                      <Select
                        {...aria}
                        data-testid={`hook-${index}-does`}
                        value={hook.does}
                        options={ways}
                        onChange={(does) => change(index, { does })}
                      />
                    )}
                  </Field>
                )}
                {hook.does === 'webhook' ? (
                  <TextField
                    id={`hook-${index}-webhook`}
                    label="Address"
                    mode="url"
                    placeholder="https://deploy.example.com/moved"
                    value={hook.webhook}
                    error={wrong}
                    onInput={(webhook) => change(index, { webhook })}
                  />
                ) : (
                  <>
                    <LinesField
                      id={`hook-${index}-command`}
                      label="Program and arguments"
                      hint="On the agent’s machine, one a line, without a shell."
                      placeholder="/usr/local/bin/moved"
                      value={hook.command}
                      error={wrong}
                      onInput={(command) => change(index, { command })}
                    />
                    <TextField
                      id={`hook-${index}-timeout`}
                      label="Seconds it may take"
                      hint="Empty: 600."
                      mode="numeric"
                      value={hook.timeout}
                      onInput={(timeout) => change(index, { timeout })}
                    />
                  </>
                )}
              </div>
              <button
                type="button"
                class="small"
                aria-label={`Remove hook ${index + 1}`}
                onClick={() => onChange(hooks.filter((_, at) => at !== index))}
              >
                Remove
              </button>
            </div>
          );
        })}
        <button
          type="button"
          class="small add"
          data-testid="add-hook"
          onClick={() =>
            onChange([...hooks, { on: 'completed', does: 'webhook', webhook: '', command: '', timeout: '' }])
          }
        >
          Add a hook
        </button>
      </details>
    </fieldset>
  );
}
