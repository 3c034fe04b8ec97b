import type { OptionsForm } from '../job-options.ts';
import {
  OptionNumber,
  OptionSize,
  OptionSwitches,
  OptionText,
  type OptionsPart,
  type Switch,
} from './option-inputs.tsx';
import { Radios, type Choice } from './radios.tsx';

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
  { value: 'manual', title: 'When I say so', text: 'The target stays in step until you press a button.' },
  {
    value: 'auto',
    title: 'By itself',
    text: 'As soon as the target is in step and nothing stands in the way.',
  },
];

/** Copy once, or follow and cut over: what each does and what it costs. */
export function MethodFields(part: OptionsPart) {
  const { form, onChange } = part;
  return (
    <fieldset class="card">
      <legend>Method</legend>
      <Radios
        name="method"
        label="Method"
        choices={methods}
        value={form.method}
        onChange={(method) => onChange({ ...form, method })}
      />
      {form.method === 'live' && (
        <>
          <Radios
            name="cutover"
            label="The cutover begins"
            shown
            choices={cutovers}
            value={form.cutover}
            onChange={(cutover) => onChange({ ...form, cutover })}
          />
          <LiveDetails {...part} />
        </>
      )}
    </fieldset>
  );
}

const liveFields: readonly (keyof OptionsForm)[] = ['cutoverTimeout', 'slotWarn', 'slotLimit', 'webhook'];

const liveSwitches: readonly Switch[] = [
  {
    id: 'carry',
    name: 'carrySchemaChanges',
    label: 'Carry schema changes over',
    hint: 'New nullable columns, dropped columns and new tables. Everything else pauses the job and says what to run.',
  },
  {
    id: 'leftovers',
    name: 'dropLeftovers',
    label: 'Drop what earlier jobs left',
    hint: 'Slots and publications of pgsluice on the source that no job uses any more.',
  },
  {
    id: 'fall-back',
    name: 'fallBack',
    label: 'Copy once if it cannot be followed',
    hint: 'Validation then chooses the copy, and says why.',
  },
];

function LiveDetails(part: OptionsPart) {
  const { form, problems, onChange } = part;
  return (
    <details open={liveFields.some((name) => problems[name] !== undefined)}>
      <summary>More: limits, schema changes, hand-over</summary>
      <div class="field-grid">
        <OptionNumber
          {...part}
          id="cutover-timeout"
          name="cutoverTimeout"
          label="Seconds a cutover may take"
          hint="After that all is undone, and the job follows on."
          max={3600}
        />
        <OptionSize
          {...part}
          id="slot-warn"
          name="slotWarn"
          unit="slotWarnUnit"
          label="Warn when the source keeps"
          hint="WAL that the source must keep for this job."
        />
        <OptionSize
          {...part}
          id="slot-limit"
          name="slotLimit"
          unit="slotLimitUnit"
          label="Give up when it keeps"
          hint="The job ends rather than fill the source’s disk."
        />
        <OptionText
          {...part}
          id="webhook"
          name="webhook"
          label="Tell this address at the hand-over"
          hint="Gets a POST with the target’s address, without its password."
          placeholder="https://deploy.example.com/moved"
          mode="url"
        />
      </div>
      <OptionSwitches {...part} switches={liveSwitches} />
      {form.handOverCommand !== null && (
        <p class="field-hint">
          At the hand-over the agent runs <code>{form.handOverCommand.join(' ')}</code>{' '}
          <button type="button" class="small" onClick={() => onChange({ ...form, handOverCommand: null })}>
            Leave it out
          </button>
        </p>
      )}
    </details>
  );
}
