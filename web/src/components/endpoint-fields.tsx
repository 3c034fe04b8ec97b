import { useSignal } from '@preact/signals';
import {
  buildEndpointUrl,
  parseEndpointUrl,
  passwordMask,
  sslModeOptions,
  type EndpointField,
  type EndpointForm,
} from '../endpoint.ts';
import { Field } from './field.tsx';
import { TextField } from './inputs.tsx';
import { Select } from './select.tsx';

interface EndpointFieldsProps {
  readonly side: 'source' | 'target';
  readonly title: string;
  readonly lead: string;
  readonly form: EndpointForm;
  readonly problems: Partial<Record<EndpointField, string>>;
  /** What the agent said about this side as a whole. */
  readonly problem: string | null;
  readonly onChange: (form: EndpointForm) => void;
}

/** One server: a URL and its fields, two views of the same thing. */
export function EndpointFields(props: EndpointFieldsProps) {
  const { side, form, problems, onChange } = props;
  const shown = useSignal(false);
  /** The URL as it is being typed; null when it is derived from the fields. */
  const typed = useSignal<string | null>(null);
  const urlProblem = useSignal<string | null>(null);
  const derived = buildEndpointUrl(form, shown.value ? form.password : passwordMask);

  const set = (part: Partial<EndpointForm>): void => {
    typed.value = null;
    urlProblem.value = null;
    onChange({ ...form, ...part });
  };
  const typeUrl = (text: string): void => {
    typed.value = text;
    urlProblem.value = null;
    const parsed = parseEndpointUrl(text, form.password);
    if (parsed !== null) onChange(parsed);
  };
  const leaveUrl = (): void => {
    const unread = typed.value !== null && typed.value.trim() !== '' && parseEndpointUrl(typed.value, '') === null;
    urlProblem.value = unread
      ? 'Not a PostgreSQL URL. It looks like postgres://user:password@host:5432/database.'
      : null;
    if (!unread) typed.value = null;
  };

  return (
    <fieldset class="card endpoint">
      <legend>{props.title}</legend>
      <p class="muted">{props.lead}</p>
      {props.problem !== null && (
        <p class="field-error" role="alert">
          {props.problem}
        </p>
      )}
      <Field
        id={`${side}-url`}
        label="URL"
        hint="Paste it, or fill the fields below: both are the same."
        error={urlProblem.value ?? undefined}
      >
        {(aria) => (
          <input
            {...aria}
            data-testid={`${side}-url`}
            class="mono"
            type="text"
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            inputMode="url"
            placeholder="postgres://user:password@host:5432/database"
            value={typed.value ?? derived}
            onInput={(event) => typeUrl(event.currentTarget.value)}
            onBlur={leaveUrl}
          />
        )}
      </Field>
      <div class="field-grid">
        <TextField
          id={`${side}-host`}
          label="Host"
          value={form.host}
          error={problems.host}
          onInput={(host) => set({ host })}
        />
        <TextField
          id={`${side}-port`}
          label="Port"
          mode="numeric"
          value={form.port}
          error={problems.port}
          onInput={(port) => set({ port })}
        />
        <TextField
          id={`${side}-database`}
          label="Database"
          value={form.database}
          error={problems.database}
          onInput={(database) => set({ database })}
        />
        <TextField
          id={`${side}-user`}
          label="User"
          value={form.user}
          error={problems.user}
          onInput={(user) => set({ user })}
        />
        <Field id={`${side}-password`} label="Password">
          {(aria) => (
            <div class="with-button">
              <input
                {...aria}
                class="mono"
                {...(shown.value ? { type: 'text' as const } : { type: 'password' as const })}
                autocomplete="off"
                spellcheck={false}
                value={form.password}
                onInput={(event) => set({ password: event.currentTarget.value })}
              />
              <button
                type="button"
                aria-pressed={shown.value}
                onClick={() => {
                  shown.value = !shown.value;
                }}
              >
                {shown.value ? 'Hide' : 'Show'}
                <span class="visually-hidden"> password of the {side}</span>
              </button>
            </div>
          )}
        </Field>
        <Field id={`${side}-sslmode`} label="Encryption (sslmode)">
          {(aria) => (
            <Select {...aria} value={form.sslmode} options={sslModeOptions} onChange={(sslmode) => set({ sslmode })} />
          )}
        </Field>
        {(form.sslmode.startsWith('verify') || form.sslrootcert !== '') && (
          <TextField
            id={`${side}-sslrootcert`}
            label="Certificate authority"
            hint="A file on the agent's machine, or “system”."
            value={form.sslrootcert}
            onInput={(sslrootcert) => set({ sslrootcert })}
          />
        )}
      </div>
    </fieldset>
  );
}
