import { sizeUnits, type OptionsForm, type SizeUnit } from '../job-options.ts';
import { Field } from './field.tsx';

interface OptionsFieldsProps {
  readonly form: OptionsForm;
  readonly problems: Partial<Record<keyof OptionsForm, string>>;
  readonly onChange: (form: OptionsForm) => void;
  readonly open: boolean;
}

type Glob = 'includeSchema' | 'excludeSchema' | 'includeTable' | 'excludeTable' | 'excludeTableData';
const globFields: readonly { readonly name: Glob; readonly label: string; readonly example: string }[] = [
  { name: 'includeSchema', label: 'Only these schemas', example: 'sales' },
  { name: 'excludeSchema', label: 'Not these schemas', example: 'tmp_*' },
  { name: 'includeTable', label: 'Only these tables', example: 'public.order*' },
  { name: 'excludeTable', label: 'Not these tables', example: '*_backup' },
  { name: 'excludeTableData', label: 'Without the rows of', example: 'public.audit_log' },
];

type Switch = 'noOwner' | 'noAcl' | 'createRoles';
const switches: readonly { readonly name: Switch; readonly label: string; readonly hint: string }[] = [
  { name: 'noOwner', label: 'Do not set owners', hint: 'Everything belongs to the target’s user.' },
  { name: 'noAcl', label: 'Do not copy grants', hint: 'Privileges stay as the target gives them.' },
  { name: 'createRoles', label: 'Create missing roles', hint: 'Without passwords; needs CREATEROLE on the target.' },
];

export function OptionsFields({ form, problems, onChange, open }: OptionsFieldsProps) {
  const set = (part: Partial<OptionsForm>): void => onChange({ ...form, ...part });
  return (
    <fieldset class="card">
      <legend>Options</legend>
      <div class="field-grid">
        <SizeField
          id="target-disk"
          label="Disk free on the target"
          hint="Few servers tell it. Empty: it is read where possible, else not checked."
          value={form.disk}
          unit={form.diskUnit}
          error={problems.disk}
          onValue={(disk) => set({ disk })}
          onUnit={(diskUnit) => set({ diskUnit })}
        />
        <Field id="verify" label="Proof at the end">
          {(aria) => (
            <select
              {...aria}
              value={form.verify}
              onChange={(event) => set({ verify: event.currentTarget.value as OptionsForm['verify'] })}
            >
              <option value="full">Count and checksum every row</option>
              <option value="counts">Count the rows</option>
              <option value="none">None</option>
            </select>
          )}
        </Field>
      </div>
      <details open={open}>
        <summary>More: method, parallel work, filters, owners</summary>
        <div class="field-grid">
          <Field id="method" label="Method" hint="Copies one consistent moment of the source.">
            {(aria) => (
              <select
                {...aria}
                value={form.method}
                onChange={(event) => set({ method: event.currentTarget.value as OptionsForm['method'] })}
              >
                <option value="auto">auto: whatever fits (copy, in this version)</option>
                <option value="copy">copy</option>
              </select>
            )}
          </Field>
          <Field id="what" label="What is moved">
            {(aria) => (
              <select
                {...aria}
                value={form.what}
                onChange={(event) => set({ what: event.currentTarget.value as OptionsForm['what'] })}
              >
                <option value="all">Schema and rows</option>
                <option value="schema">Schema only</option>
                <option value="data">Rows only, into tables that exist</option>
              </select>
            )}
          </Field>
          <NumberField
            id="table-jobs"
            label="Tables at once"
            hint="Lowered to what both servers allow."
            value={form.tableJobs}
            error={problems.tableJobs}
            onInput={(tableJobs) => set({ tableJobs })}
          />
          <NumberField
            id="index-jobs"
            label="Indexes at once"
            value={form.indexJobs}
            error={problems.indexJobs}
            onInput={(indexJobs) => set({ indexJobs })}
          />
          <SizeField
            id="split-above"
            label="Split tables above"
            hint="Empty: the plan decides."
            value={form.splitAbove}
            unit={form.splitUnit}
            error={problems.splitAbove}
            onValue={(splitAbove) => set({ splitAbove })}
            onUnit={(splitUnit) => set({ splitUnit })}
          />
        </div>
        <p class="group-label">Filters: one pattern a line, * and ? stand for anything</p>
        <div class="field-grid">
          {globFields.map(({ name, label, example }) => (
            <Field key={name} id={name} label={label}>
              {(aria) => (
                <textarea
                  {...aria}
                  class="mono"
                  rows={2}
                  spellcheck={false}
                  placeholder={example}
                  value={form[name]}
                  onInput={(event) => set({ [name]: event.currentTarget.value })}
                />
              )}
            </Field>
          ))}
        </div>
        <p class="group-label">Owners and rights</p>
        <div class="switches">
          {switches.map(({ name, label, hint }) => (
            <Checkbox
              key={name}
              id={name}
              label={label}
              hint={hint}
              checked={form[name]}
              onChange={(checked) => set({ [name]: checked })}
            />
          ))}
        </div>
        <p class="group-label">If the target is not empty</p>
        <div class="switches">
          <Checkbox
            id="replace"
            label="Drop what is in the target first"
            hint="Only after the whole validation passed, which lists what would be dropped. It cannot be undone."
            checked={form.replace}
            onChange={(replace) => set({ replace })}
          />
        </div>
      </details>
    </fieldset>
  );
}

interface InputProps {
  readonly id: string;
  readonly label: string;
  readonly hint?: string;
  readonly value: string;
  readonly error?: string | undefined;
}

function NumberField({ id, label, hint, value, error, onInput }: InputProps & { onInput: (value: string) => void }) {
  return (
    <Field id={id} label={label} hint={hint} error={error}>
      {(aria) => (
        <input
          {...aria}
          type="number"
          min={1}
          max={64}
          value={value}
          onInput={(event) => onInput(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

interface SizeProps extends InputProps {
  readonly unit: SizeUnit;
  readonly onValue: (value: string) => void;
  readonly onUnit: (unit: SizeUnit) => void;
}

function SizeField({ id, label, hint, value, unit, error, onValue, onUnit }: SizeProps) {
  return (
    <Field id={id} label={label} hint={hint} error={error}>
      {(aria) => (
        <div class="with-button">
          <input
            {...aria}
            data-testid={id}
            type="text"
            inputMode="decimal"
            value={value}
            onInput={(event) => onValue(event.currentTarget.value)}
          />
          <select
            aria-label={`Unit of: ${label}`}
            value={unit}
            onChange={(event) => onUnit(event.currentTarget.value as SizeUnit)}
          >
            {Object.keys(sizeUnits).map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </div>
      )}
    </Field>
  );
}

interface CheckboxProps {
  readonly id: string;
  readonly label: string;
  readonly hint: string;
  readonly checked: boolean;
  readonly onChange: (checked: boolean) => void;
}

function Checkbox({ id, label, hint, checked, onChange }: CheckboxProps) {
  return (
    <div class="checkbox">
      <input
        id={id}
        type="checkbox"
        checked={checked}
        aria-describedby={`${id}-hint`}
        onChange={(event) => onChange(event.currentTarget.checked)}
      />
      <label for={id}>{label}</label>
      <p class="field-hint" id={`${id}-hint`}>
        {hint}
      </p>
    </div>
  );
}
