import type { OptionsForm } from '../job-options.ts';
import type { OptionProblems } from '../option-problems.ts';
import type { SizeUnit } from '../size.ts';
import { Checkbox, LinesField, NumberField, SizeField, TextField } from './inputs.tsx';

/** What every part of the options is given. */
export interface OptionsPart {
  readonly form: OptionsForm;
  readonly problems: OptionProblems;
  readonly onChange: (form: OptionsForm) => void;
}

type NamesOf<T> = { [K in keyof OptionsForm]: OptionsForm[K] extends T ? K : never }[keyof OptionsForm];
type TextName = { [K in keyof OptionsForm]: string extends OptionsForm[K] ? K : never }[keyof OptionsForm];
type SwitchName = NamesOf<boolean>;
type UnitName = { [K in keyof OptionsForm]: SizeUnit extends OptionsForm[K] ? K : never }[keyof OptionsForm] &
  `${string}Unit`;

interface Bound<N> extends OptionsPart {
  readonly id: string;
  readonly name: N;
  readonly label: string;
  readonly hint?: string;
}

/** The parts of `Bound` that every input takes as they are. */
function common({ id, name, label, hint, form, problems }: Bound<TextName>) {
  return { id, label, hint, value: form[name], error: problems[name] };
}

export function OptionText(props: Bound<TextName> & { readonly placeholder?: string; readonly mode?: 'url' }) {
  const { placeholder, mode } = props;
  return (
    <TextField
      {...common(props)}
      {...(placeholder === undefined ? {} : { placeholder })}
      {...(mode === undefined ? {} : { mode })}
      onInput={(value) => props.onChange({ ...props.form, [props.name]: value })}
    />
  );
}

export function OptionNumber(props: Bound<TextName> & { readonly max?: number }) {
  return (
    <NumberField
      {...common(props)}
      {...(props.max === undefined ? {} : { max: props.max })}
      onInput={(value) => props.onChange({ ...props.form, [props.name]: value })}
    />
  );
}

export function OptionLines(props: Bound<TextName> & { readonly placeholder: string }) {
  return (
    <LinesField
      {...common(props)}
      placeholder={props.placeholder}
      onInput={(value) => props.onChange({ ...props.form, [props.name]: value })}
    />
  );
}

export function OptionSize(props: Bound<TextName> & { readonly unit: UnitName }) {
  const { form, onChange } = props;
  return (
    <SizeField
      {...common(props)}
      unit={form[props.unit]}
      onValue={(value) => onChange({ ...form, [props.name]: value })}
      onUnit={(unit) => onChange({ ...form, [props.unit]: unit })}
    />
  );
}

export interface Switch {
  readonly id: string;
  readonly name: SwitchName;
  readonly label: string;
  readonly hint: string;
}

export function OptionSwitches({ form, onChange, switches }: OptionsPart & { readonly switches: readonly Switch[] }) {
  return (
    <div class="switches">
      {switches.map(({ id, name, label, hint }) => (
        <Checkbox
          key={id}
          id={id}
          label={label}
          hint={hint}
          checked={form[name]}
          onChange={(checked) => onChange({ ...form, [name]: checked })}
        />
      ))}
    </div>
  );
}
