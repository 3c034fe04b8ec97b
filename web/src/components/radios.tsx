export interface Choice<T extends string> {
  readonly value: T;
  readonly title: string;
  readonly text: string;
  readonly cost?: string;
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

/** A few ways that exclude each other, each with what it does and what it costs. */
export function Radios<T extends string>({ name, label, shown, choices, value, onChange }: RadiosProps<T>) {
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
              {choice.cost !== undefined && <span class="muted">{choice.cost}</span>}
            </span>
          </label>
        ))}
      </div>
    </div>
  );
}
