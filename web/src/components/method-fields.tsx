import type { OptionsForm } from '../job-options.ts';
import { Field } from './field.tsx';
import { Checkbox, NumberField, SizeField } from './inputs.tsx';

interface MethodFieldsProps {
  readonly form: OptionsForm;
  readonly problems: Partial<Record<keyof OptionsForm, string>>;
  readonly onChange: (form: OptionsForm) => void;
}

interface Choice<T extends string> {
  readonly value: T;
  readonly title: string;
  readonly text: string;
  readonly cost: string;
}

const methods: readonly Choice<OptionsForm['method']>[] = [
  {
    value: 'copy',
    title: 'Copy once',
    text: 'Copies one moment of the source. What is written there after the start is not in the copy.',
    cost: 'Costs: your application stops writing for as long as the copy takes.',
  },
  {
    value: 'live',
    title: 'Follow and cut over',
    text: 'Copies while the source stays in use, follows its changes, then the target takes over.',
    cost: 'Costs: seconds without writes at the cutover. The source needs wal_level = logical, and keeps WAL until then.',
  },
];

const cutovers: readonly Choice<OptionsForm['cutover']>[] = [
  {
    value: 'manual',
    title: 'When I say so',
    text: 'The target stays in step until you press a button.',
    cost: '',
  },
  {
    value: 'auto',
    title: 'By itself',
    text: 'As soon as the target is in step and nothing stands in the way.',
    cost: '',
  },
];

/** Copy once, or follow and cut over: what each does and what it costs. */
export function MethodFields({ form, problems, onChange }: MethodFieldsProps) {
  const set = (part: Partial<OptionsForm>): void => onChange({ ...form, ...part });
  return (
    <fieldset class="card">
      <legend>Method</legend>
      <Radios
        name="method"
        label="Method"
        choices={methods}
        value={form.method}
        onChange={(method) => set({ method })}
      />
      {form.method === 'live' && (
        <>
          <Radios
            name="cutover"
            label="The cutover begins"
            shown
            choices={cutovers}
            value={form.cutover}
            onChange={(cutover) => set({ cutover })}
          />
          <LiveDetails form={form} problems={problems} set={set} />
        </>
      )}
    </fieldset>
  );
}

const liveFields: readonly (keyof OptionsForm)[] = ['cutoverTimeout', 'slotWarn', 'slotLimit', 'webhook'];

function LiveDetails({
  form,
  problems,
  set,
}: Omit<MethodFieldsProps, 'onChange'> & { readonly set: (part: Partial<OptionsForm>) => void }) {
  return (
    <details open={liveFields.some((name) => problems[name] !== undefined)}>
      <summary>More: limits, schema changes, hand-over</summary>
      <div class="field-grid">
        <NumberField
          id="cutover-timeout"
          label="Seconds a cutover may take"
          hint="After that all is undone, and the job follows on."
          value={form.cutoverTimeout}
          max={3600}
          error={problems.cutoverTimeout}
          onInput={(cutoverTimeout) => set({ cutoverTimeout })}
        />
        <SizeField
          id="slot-warn"
          label="Warn when the source keeps"
          hint="WAL that the source must keep for this job."
          value={form.slotWarn}
          unit={form.slotWarnUnit}
          error={problems.slotWarn}
          onValue={(slotWarn) => set({ slotWarn })}
          onUnit={(slotWarnUnit) => set({ slotWarnUnit })}
        />
        <SizeField
          id="slot-limit"
          label="Give up when it keeps"
          hint="The job ends rather than fill the source’s disk."
          value={form.slotLimit}
          unit={form.slotLimitUnit}
          error={problems.slotLimit}
          onValue={(slotLimit) => set({ slotLimit })}
          onUnit={(slotLimitUnit) => set({ slotLimitUnit })}
        />
        <Field
          id="webhook"
          label="Tell this address at the hand-over"
          hint="Gets a POST with the target’s address, without its password."
          error={problems.webhook}
        >
          {(aria) => (
            <input
              {...aria}
              type="url"
              inputMode="url"
              autocomplete="off"
              spellcheck={false}
              placeholder="https://deploy.example.com/moved"
              value={form.webhook}
              onInput={(event) => set({ webhook: event.currentTarget.value })}
            />
          )}
        </Field>
      </div>
      <div class="switches">
        <Checkbox
          id="carry"
          label="Carry schema changes over"
          hint="New nullable columns, dropped columns and new tables. Everything else pauses the job and says what to run."
          checked={form.carrySchemaChanges}
          onChange={(carrySchemaChanges) => set({ carrySchemaChanges })}
        />
        <Checkbox
          id="leftovers"
          label="Drop what earlier jobs left"
          hint="Slots and publications of pgsluice on the source that no job uses any more."
          checked={form.dropLeftovers}
          onChange={(dropLeftovers) => set({ dropLeftovers })}
        />
        <Checkbox
          id="fall-back"
          label="Copy once if it cannot be followed"
          hint="Validation then chooses the copy, and says why."
          checked={form.fallBack}
          onChange={(fallBack) => set({ fallBack })}
        />
      </div>
      {form.handOverCommand !== null && (
        <p class="field-hint">
          At the hand-over the agent runs <code>{form.handOverCommand.join(' ')}</code>{' '}
          <button type="button" class="small" onClick={() => set({ handOverCommand: null })}>
            Leave it out
          </button>
        </p>
      )}
    </details>
  );
}

interface RadiosProps<T extends string> {
  readonly name: string;
  readonly label: string;
  /** The label is seen and not only heard. */
  readonly shown?: boolean;
  readonly choices: readonly Choice<T>[];
  readonly value: T;
  readonly onChange: (value: T) => void;
}

function Radios<T extends string>({ name, label, shown, choices, value, onChange }: RadiosProps<T>) {
  return (
    <div class="choice-group" role="radiogroup" aria-labelledby={`${name}-label`}>
      <p class={shown ? 'group-label' : 'visually-hidden'} id={`${name}-label`}>
        {label}
      </p>
      <div class="choices">
        {choices.map((choice) => (
          <label key={choice.value} class="choice" data-chosen={choice.value === value ? '' : undefined}>
            <input
              type="radio"
              name={name}
              data-testid={`${name}-${choice.value}`}
              checked={choice.value === value}
              onChange={() => onChange(choice.value)}
            />
            <span>
              <strong>{choice.title}</strong>
              <span>{choice.text}</span>
              {choice.cost !== '' && <span class="muted">{choice.cost}</span>}
            </span>
          </label>
        ))}
      </div>
    </div>
  );
}
