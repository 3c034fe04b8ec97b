import { useEffect, useRef } from 'preact/hooks';
import { sizeUnitNames, type SizeUnit } from '../size.ts';
import { Field } from './field.tsx';
import { Select } from './select.tsx';

const units: readonly { readonly value: SizeUnit; readonly label: string }[] = sizeUnitNames.map((value) => ({
  value,
  label: value,
}));

interface InputProps {
  readonly id: string;
  readonly label: string;
  readonly hint?: string | undefined;
  readonly value: string;
  readonly error?: string | undefined;
}

interface TextProps extends InputProps {
  readonly placeholder?: string;
  /** What a phone's keyboard offers. */
  readonly mode?: 'text' | 'numeric' | 'url';
  /** Prose instead of a name or an address. */
  readonly prose?: boolean;
  readonly maxLength?: number;
  /** Takes the focus when it appears, because a person has just asked for it. */
  readonly focus?: boolean;
  readonly onInput: (value: string) => void;
}

/** One line that a machine will read: nothing corrects it while it is typed. */
export function TextField(props: TextProps) {
  const { id, label, hint, value, error, placeholder, mode = 'text', prose, maxLength, focus, onInput } = props;
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (focus) input.current?.focus();
  }, []);
  return (
    <Field id={id} label={label} hint={hint} error={error}>
      {(aria) => (
        <input
          {...aria}
          ref={input}
          data-testid={id}
          class={prose ? '' : 'mono'}
          type="text"
          inputMode={mode}
          autocomplete="off"
          {...(prose ? {} : { autocapitalize: 'off', spellcheck: false })}
          {...(maxLength === undefined ? {} : { maxLength })}
          {...(placeholder === undefined ? {} : { placeholder })}
          value={value}
          onInput={(event) => onInput(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

interface LinesProps extends InputProps {
  readonly placeholder: string;
  readonly rows?: number;
  readonly onInput: (value: string) => void;
}

/** Names or patterns, one a line. */
export function LinesField({ id, label, hint, value, error, placeholder, rows = 2, onInput }: LinesProps) {
  return (
    <Field id={id} label={label} hint={hint} error={error}>
      {(aria) => (
        <textarea
          {...aria}
          data-testid={id}
          class="mono"
          rows={rows}
          spellcheck={false}
          placeholder={placeholder}
          value={value}
          onInput={(event) => onInput(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

interface NumberProps extends InputProps {
  readonly max?: number;
  readonly onInput: (value: string) => void;
}

export function NumberField({ id, label, hint, value, error, max = 64, onInput }: NumberProps) {
  return (
    <Field id={id} label={label} hint={hint} error={error}>
      {(aria) => (
        <input
          {...aria}
          type="number"
          min={1}
          max={max}
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

export function SizeField({ id, label, hint, value, unit, error, onValue, onUnit }: SizeProps) {
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
          <Select aria-label={`Unit of: ${label}`} value={unit} options={units} onChange={onUnit} />
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

export function Checkbox({ id, label, hint, checked, onChange }: CheckboxProps) {
  return (
    <div class="checkbox">
      <input
        id={id}
        data-testid={id}
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
