import { roleProblem } from '../option-problems.ts';
import type { RoleRow } from '../job-options.ts';

interface RoleFieldsProps {
  readonly rows: readonly RoleRow[];
  /** Set once problems are shown. */
  readonly problem: string | undefined;
  readonly onChange: (rows: readonly RoleRow[]) => void;
}

/** Who owns and may do what on the target instead of whom on the source. */
export function RoleFields({ rows, problem, onChange }: RoleFieldsProps) {
  const change = (index: number, part: Partial<RoleRow>): void =>
    onChange(rows.map((row, at) => (at === index ? { ...row, ...part } : row)));
  return (
    <div class="rows" role="group" aria-labelledby="role-map-label">
      <p class="field-hint" id="role-map-label">
        Another name on the target: what belongs or is granted to the first role there goes to the second.
      </p>
      {rows.map((row, index) => (
        // Rows have no identity but their place.
        <div class="row-pair" key={index}>
          {(['from', 'to'] as const).map((side) => (
            <input
              key={side}
              type="text"
              class="mono"
              aria-label={`${side === 'from' ? 'Role of the source' : 'Its name on the target'}, row ${index + 1}`}
              {...(problem !== undefined && roleProblem(rows, index) !== null
                ? { 'aria-invalid': 'true' as const, 'aria-describedby': 'role-map-error' }
                : {})}
              data-testid={`role-${side}-${index}`}
              autocomplete="off"
              autocapitalize="off"
              spellcheck={false}
              placeholder={side === 'from' ? 'old_owner' : 'new_owner'}
              value={row[side]}
              onInput={(event) => change(index, { [side]: event.currentTarget.value })}
            />
          ))}
          <button
            type="button"
            class="small"
            aria-label={`Remove row ${index + 1}`}
            onClick={() => onChange(rows.filter((_, at) => at !== index))}
          >
            Remove
          </button>
        </div>
      ))}
      {problem !== undefined && (
        <p class="field-error" id="role-map-error">
          {problem}
        </p>
      )}
      <button
        type="button"
        class="small add"
        data-testid="add-role"
        onClick={() => onChange([...rows, { from: '', to: '' }])}
      >
        Map a role
      </button>
    </div>
  );
}
