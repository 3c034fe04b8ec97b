import type { LiveProgress } from '../../../src/contract/live.ts';
import { Figure } from '../components/parts.tsx';
import { formatBytes, formatCount, formatDuration, formatPerSecond } from '../format.ts';
import type { LiveSample } from '../model.ts';
import { SeriesChart, binarySplits, decimalSplits, type Axis } from './series-chart.tsx';

const bytes: Axis = { format: formatBytes, splits: binarySplits, least: 1024, size: 74 };
const seconds: Axis = {
  format: (value) => `${Number(value.toPrecision(3))} s`,
  splits: decimalSplits,
  least: 1,
  size: 46,
};
const rows: Axis = { format: (value) => formatCount(value), splits: decimalSplits, least: 4, size: 62 };

/** How far the target is behind, in bytes of WAL and in seconds. */
export function LagCard({ live, samples }: { live: LiveProgress; samples: readonly LiveSample[] }) {
  const worst = samples.reduce((most, sample) => Math.max(most, sample.lagSeconds), 0);
  return (
    <section class="panel card" aria-labelledby="lag-title" data-testid="lag">
      <div class="panel-head">
        <h2 id="lag-title">How far behind</h2>
        {!live.connected && <p class="muted">Connecting to the source again…</p>}
      </div>
      <dl class="totals">
        <Figure name="Missing on the target" value={formatBytes(live.lagBytes)} detail="of the source’s WAL" />
        <Figure name="Oldest missing commit" value={live.lagSeconds === 0 ? 'none' : formatDuration(live.lagSeconds)} />
      </dl>
      <Key entries={keyOfLag} />
      <div class="chart-space">
        {samples.length > 1 ? (
          <SeriesChart
            times={samples.map((sample) => sample.at)}
            series={[
              {
                ...lineOf(keyOfLag, 0),
                values: samples.map((sample) => sample.lagBytes),
                fill: '--accent-soft',
                axis: 'left',
              },
              { ...lineOf(keyOfLag, 1), values: samples.map((sample) => sample.lagSeconds), axis: 'right' },
            ]}
            left={bytes}
            right={seconds}
            label={`Lag over the last minutes, at most ${formatDuration(worst)}, now ${formatBytes(live.lagBytes)} and ${formatDuration(live.lagSeconds)}`}
          />
        ) : (
          <p class="muted">The chart begins with the second measurement.</p>
        )}
      </div>
    </section>
  );
}

/** Rows that the target has taken over, a second and in all, by kind. */
export function AppliedCard({ live, samples }: { live: LiveProgress; samples: readonly LiveSample[] }) {
  const { applied, perSecond } = live;
  return (
    <section class="panel card" aria-labelledby="applied-title" data-testid="applied">
      <div class="panel-head">
        <h2 id="applied-title">Changes applied</h2>
        <p class="muted">
          {formatCount(applied.transactions)} transactions
          {applied.truncates > 0 && `, ${formatCount(applied.truncates)} truncates`}
        </p>
      </div>
      <dl class="totals">
        <Figure
          name="Inserts"
          value={formatPerSecond(perSecond.inserts)}
          detail={`${formatCount(applied.inserts)} in all`}
        />
        <Figure
          name="Updates"
          value={formatPerSecond(perSecond.updates)}
          detail={`${formatCount(applied.updates)} in all`}
        />
        <Figure
          name="Deletes"
          value={formatPerSecond(perSecond.deletes)}
          detail={`${formatCount(applied.deletes)} in all`}
        />
      </dl>
      <Key entries={keyOfApplied} />
      <div class="chart-space">
        {samples.length > 1 ? (
          <SeriesChart
            times={samples.map((sample) => sample.at)}
            series={[
              { ...lineOf(keyOfApplied, 0), values: samples.map((sample) => sample.inserts), axis: 'left' },
              { ...lineOf(keyOfApplied, 1), values: samples.map((sample) => sample.updates), axis: 'left' },
              { ...lineOf(keyOfApplied, 2), values: samples.map((sample) => sample.deletes), axis: 'left' },
            ]}
            left={rows}
            label={`Rows applied a second over the last minutes, now ${formatPerSecond(perSecond.inserts)} inserts, ${formatPerSecond(perSecond.updates)} updates, ${formatPerSecond(perSecond.deletes)} deletes`}
          />
        ) : (
          <p class="muted">The chart begins with the second measurement.</p>
        )}
      </div>
    </section>
  );
}

interface KeyEntry {
  readonly word: string;
  readonly colour: string;
  /** Lengths of dash and gap in px; empty for a solid line. */
  readonly dash: readonly number[];
}

const keyOfLag: readonly KeyEntry[] = [
  { word: 'bytes', colour: '--accent', dash: [] },
  { word: 'seconds', colour: '--info', dash: [6, 4] },
];
const keyOfApplied: readonly KeyEntry[] = [
  { word: 'inserts', colour: '--accent', dash: [] },
  { word: 'updates', colour: '--info', dash: [6, 4] },
  { word: 'deletes', colour: '--bad', dash: [2, 3] },
];

function lineOf(key: readonly KeyEntry[], index: number): { colour: string; dash?: readonly number[] } {
  const { colour = '--accent', dash = [] } = key[index] ?? {};
  return dash.length === 0 ? { colour } : { colour, dash };
}

/** Which line is which; the figures above say the same in words. */
function Key({ entries }: { entries: readonly KeyEntry[] }) {
  return (
    <p class="chart-key" aria-hidden="true">
      {entries.map(({ word, colour, dash }) => (
        <span key={word}>
          <svg width="26" height="8" class={`key${colour}`}>
            <line x1="0" y1="4" x2="26" y2="4" stroke-width="2.5" stroke-dasharray={dash.join(' ')} />
          </svg>
          {word}
        </span>
      ))}
    </p>
  );
}
