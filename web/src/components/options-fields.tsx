import type { JobKind } from '../../../src/contract/options.ts';
import type { OptionsForm } from '../job-options.ts';
import { Field } from './field.tsx';
import {
  OptionLines,
  OptionNumber,
  OptionSize,
  OptionSwitches,
  type OptionsPart,
  type Switch,
} from './option-inputs.tsx';
import { RoleFields } from './role-fields.tsx';
import { Select } from './select.tsx';

interface Labelled<T extends string> {
  readonly value: T;
  readonly label: string;
}

const proofs: readonly Labelled<OptionsForm['verify']>[] = [
  { value: 'full', label: 'Count and checksum every row' },
  { value: 'counts', label: 'Count the rows' },
  { value: 'none', label: 'None' },
];
const contents: readonly Labelled<OptionsForm['what']>[] = [
  { value: 'all', label: 'Schema and rows' },
  { value: 'schema', label: 'Schema only' },
  { value: 'data', label: 'Rows only, into tables that exist' },
];
const versions: readonly Labelled<OptionsForm['extensionVersion']>[] = [
  { value: 'source', label: 'The version of the source' },
  { value: 'newest', label: 'The newest that the target offers' },
];

type Glob = 'includeSchema' | 'excludeSchema' | 'includeTable' | 'excludeTable' | 'excludeTableData';
const globFields: readonly { readonly name: Glob; readonly label: string; readonly example: string }[] = [
  { name: 'includeSchema', label: 'Only these schemas', example: 'sales' },
  { name: 'excludeSchema', label: 'Not these schemas', example: 'tmp_*' },
  { name: 'includeTable', label: 'Only these tables', example: 'public.order*' },
  { name: 'excludeTable', label: 'Not these tables', example: '*_backup' },
  { name: 'excludeTableData', label: 'Without the rows of', example: 'public.audit_log' },
];

const ownerSwitches: readonly Switch[] = [
  {
    id: 'noOwner',
    name: 'noOwner',
    label: 'Do not set owners',
    hint: 'Everything belongs to the target’s user.',
  },
  { id: 'noAcl', name: 'noAcl', label: 'Do not copy grants', hint: 'Privileges stay as the target gives them.' },
  {
    id: 'createRoles',
    name: 'createRoles',
    label: 'Create missing roles',
    hint: 'With what the target’s user may give them; needs CREATEROLE there. Validation names what it cannot carry.',
  },
];
export const createDatabaseSwitch: Switch = {
  id: 'create-database',
  name: 'createDatabase',
  label: 'Create the database if it is missing',
  hint: 'From template0, with the encoding, locale and settings of the source’s; needs CREATEDB.',
};
const gentleSwitch: Switch = {
  id: 'gentle',
  name: 'gentle',
  label: 'Be gentle with the source',
  hint: 'One reader, and slower whenever the source gets slower. It takes longer.',
};
const targetSwitches: readonly Switch[] = [
  {
    id: 'replace',
    name: 'replace',
    label: 'Drop what is in the target first',
    hint: 'Only after the whole validation passed, which lists what would be dropped. It cannot be undone.',
  },
  {
    id: 'allow-downgrade',
    name: 'allowDowngrade',
    label: 'The target may be of an older major version',
    hint: 'What the older version does not know is refused there. Validation warns instead of stopping.',
  },
];

interface OptionsFieldsProps extends OptionsPart {
  readonly kind: JobKind;
  /** Several databases: whether missing ones are created is asked where they are named. */
  readonly several: boolean;
  readonly open: boolean;
}

/** Everything that has a good value already; of an export and an import only what has a meaning for them. */
export function OptionsFields({ kind, several, open, ...part }: OptionsFieldsProps) {
  const { form, problems, onChange } = part;
  const set = (changes: Partial<OptionsForm>): void => onChange({ ...form, ...changes });
  const writes = kind !== 'export';
  const reads = kind !== 'import';
  return (
    <fieldset class="card">
      <legend>Options</legend>
      <div class="field-grid">
        {writes && (
          <OptionSize
            {...part}
            id="target-disk"
            name="disk"
            unit="diskUnit"
            label="Disk free on the target"
            hint="Few servers tell it. Empty: it is read where possible, else not checked."
          />
        )}
        <Field id="verify" label={writes ? 'Proof at the end' : 'Proof that is kept in the archive'}>
          {(aria) => <Select {...aria} value={form.verify} options={proofs} onChange={(verify) => set({ verify })} />}
        </Field>
      </div>
      <details open={open}>
        <summary>
          {writes ? 'More: parallel work, filters, owners, extensions' : 'More: parallel work, filters'}
        </summary>
        <div class="field-grid">
          <Field id="what" label={writes ? 'What is moved' : 'What is saved'} error={problems.what}>
            {(aria) => (
              <Select
                {...aria}
                value={form.what}
                options={writes ? contents : contents.slice(0, 2)}
                onChange={(what) => set({ what })}
              />
            )}
          </Field>
          <OptionNumber
            {...part}
            id="table-jobs"
            name="tableJobs"
            label="Tables at once"
            hint={kind === 'move' ? 'Lowered to what both servers allow.' : 'Lowered to what the server allows.'}
          />
          {writes && <OptionNumber {...part} id="index-jobs" name="indexJobs" label="Indexes at once" />}
          {kind === 'move' && (
            <OptionSize
              {...part}
              id="split-above"
              name="splitAbove"
              unit="splitUnit"
              label="Split tables above"
              hint="Empty: the plan decides."
            />
          )}
          {reads && (
            <OptionSize
              {...part}
              id="max-rate"
              name="maxRate"
              unit="rateUnit"
              label="At most, a second"
              hint="Of all tables together, from the source. Empty: as fast as both servers can."
            />
          )}
        </div>
        {reads && <OptionSwitches {...part} switches={[gentleSwitch]} />}
        <p class="group-label">Filters: one pattern a line, * and ? stand for anything</p>
        <div class="field-grid">
          {globFields.map(({ name, label, example }) => (
            <OptionLines key={name} {...part} id={name} name={name} label={label} placeholder={example} />
          ))}
        </div>
        {writes && (
          <>
            <p class="group-label">Owners and rights</p>
            <OptionSwitches {...part} switches={ownerSwitches} />
            <RoleFields rows={form.roleMap} problem={problems.roleMap} onChange={(roleMap) => set({ roleMap })} />
          </>
        )}
        <p class="group-label">Extensions</p>
        <div class="field-grid">
          {writes && (
            <Field id="extension-version" label="Their version on the target">
              {(aria) => (
                <Select
                  {...aria}
                  data-testid="extension-version"
                  value={form.extensionVersion}
                  options={versions}
                  onChange={(extensionVersion) => set({ extensionVersion })}
                />
              )}
            </Field>
          )}
          <OptionLines
            {...part}
            id="exclude-extension"
            name="excludeExtension"
            label="Leave these extensions out"
            hint="With what depends on them; validation lists it."
            placeholder="pg_stat_statements"
          />
        </div>
        {writes && (
          <>
            <p class="group-label">The target’s database</p>
            <OptionSwitches {...part} switches={several ? targetSwitches : [createDatabaseSwitch, ...targetSwitches]} />
          </>
        )}
      </details>
    </fieldset>
  );
}
