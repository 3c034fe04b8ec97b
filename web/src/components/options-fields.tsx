import type { OptionsForm } from '../job-options.ts';
import { Field } from './field.tsx';
import { Checkbox, NumberField, SizeField } from './inputs.tsx';
import { Select } from './select.tsx';

interface OptionsFieldsProps {
  readonly form: OptionsForm;
  readonly problems: Partial<Record<keyof OptionsForm, string>>;
  readonly onChange: (form: OptionsForm) => void;
  readonly open: boolean;
}

interface Choice<T extends string> {
  readonly value: T;
  readonly label: string;
}

const proofs: readonly Choice<OptionsForm['verify']>[] = [
  { value: 'full', label: 'Count and checksum every row' },
  { value: 'counts', label: 'Count the rows' },
  { value: 'none', label: 'None' },
];
const contents: readonly Choice<OptionsForm['what']>[] = [
  { value: 'all', label: 'Schema and rows' },
  { value: 'schema', label: 'Schema only' },
  { value: 'data', label: 'Rows only, into tables that exist' },
];

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
          {(aria) => <Select {...aria} value={form.verify} options={proofs} onChange={(verify) => set({ verify })} />}
        </Field>
      </div>
      <details open={open}>
        <summary>More: parallel work, filters, owners</summary>
        <div class="field-grid">
          <Field id="what" label="What is moved" error={problems.what}>
            {(aria) => <Select {...aria} value={form.what} options={contents} onChange={(what) => set({ what })} />}
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
