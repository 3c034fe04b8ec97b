import type { JobKind } from '../../../src/contract/options.ts';
import type { DatabasesForm } from '../job-draft.ts';
import { Checkbox, LinesField, TextField } from './inputs.tsx';
import { createDatabaseSwitch } from './options-fields.tsx';
import { Radios, type Choice } from './radios.tsx';

const kinds: readonly Choice<JobKind>[] = [
  { value: 'move', title: 'Move a database', text: 'From one server to another, while both exist.' },
  {
    value: 'export',
    title: 'Save it to an archive',
    text: 'When source and target never exist at the same time: save now, load later.',
  },
  {
    value: 'import',
    title: 'Load an archive',
    text: 'One that was saved here, or a custom or directory file of pg_dump.',
  },
];

export function KindFields({ kind, onChange }: { kind: JobKind; onChange: (kind: JobKind) => void }) {
  return (
    <fieldset class="card">
      <legend>What is to be done</legend>
      <Radios name="kind" label="What is to be done" choices={kinds} value={kind} onChange={onChange} />
    </fieldset>
  );
}

interface ArchiveProps {
  readonly kind: 'export' | 'import';
  readonly path: string;
  readonly problem: string | null;
  readonly onChange: (path: string) => void;
}

/** Stands where the other server would be. */
export function ArchiveFields({ kind, path, problem, onChange }: ArchiveProps) {
  return (
    <fieldset class="card endpoint">
      <legend>Archive</legend>
      <p class="muted">
        {kind === 'export'
          ? 'A directory that pg_restore reads as it is, with a manifest of counts and checksums beside the data. It gets its name only when it is whole.'
          : 'Every file is checked against the manifest first: what is torn or altered is refused before the target is touched.'}
      </p>
      <TextField
        id="archive-path"
        label="Path on the agent’s machine"
        hint={
          kind === 'export'
            ? 'A directory that does not exist yet; its parent does.'
            : 'The archive’s directory, or a file of pg_dump -Fc.'
        }
        placeholder="/var/backups/shop-2026-11"
        value={path}
        error={problem ?? undefined}
        onInput={onChange}
      />
    </fieldset>
  );
}

const scopes: readonly Choice<DatabasesForm['scope']>[] = [
  { value: 'one', title: 'This database', text: 'The one that is named above.' },
  { value: 'all', title: 'All databases of the server', text: 'But templates, and those that nobody may connect to.' },
  { value: 'list', title: 'A list of databases', text: 'Each goes into the database of the same name.' },
];

interface DatabasesProps {
  readonly form: DatabasesForm;
  readonly problem: string | undefined;
  readonly createDatabase: boolean;
  readonly onChange: (form: DatabasesForm) => void;
  readonly onCreateDatabase: (create: boolean) => void;
}

/** One database, or several under one plan. */
export function DatabasesFields({ form, problem, createDatabase, onChange, onCreateDatabase }: DatabasesProps) {
  return (
    <fieldset class="card">
      <legend>Databases</legend>
      <Radios
        name="databases"
        label="Databases"
        choices={scopes}
        value={form.scope}
        onChange={(scope) => onChange({ ...form, scope })}
      />
      {form.scope === 'list' && (
        <LinesField
          id="database-list"
          label="Their names, one a line"
          placeholder={'shop\naccounts'}
          rows={4}
          value={form.list}
          error={problem}
          onInput={(list) => onChange({ ...form, list })}
        />
      )}
      {form.scope !== 'one' && (
        <>
          <Checkbox
            id={createDatabaseSwitch.id}
            label="Create those that are missing on the target"
            hint={createDatabaseSwitch.hint}
            checked={createDatabase}
            onChange={onCreateDatabase}
          />
          <p class="field-hint">
            The database named above is only where the list is read. Each database becomes a job of its own, with its
            own checks, log and proof, and one page shows them all.
          </p>
        </>
      )}
    </fieldset>
  );
}
