import type { SlotHealth } from '../../../src/contract/live.ts';
import type { JobOptions } from '../../../src/contract/options.ts';
import { Figure, ProgressBar } from '../components/parts.tsx';
import { formatBytes, formatLasting, formatRate } from '../format.ts';
import type { Tone } from '../words.ts';
import { slotSentence } from './words.ts';

/** What the slot makes the source keep, how long that may go on, and at which size the job acts. */
export function SlotCard({ slot, options }: { slot: SlotHealth; options: JobOptions }) {
  const sentence = slotSentence(slot);
  const warned = slot.retainedBytes >= options.slotWarn;
  const tone: Tone = sentence.tone === 'good' && warned ? 'warn' : sentence.tone;
  return (
    <section
      class="panel card"
      aria-labelledby="slot-title"
      data-testid="slot"
      data-status={slot.walStatus ?? 'unknown'}
    >
      <div class="panel-head">
        <h2 id="slot-title">What the source keeps</h2>
      </div>
      <dl class="totals">
        <Figure
          name="WAL kept for this job"
          value={formatBytes(slot.retainedBytes)}
          detail={`${formatRate(slot.walBytesPerSecond)} written`}
        />
        <Figure
          name="Lasts"
          value={slot.lastsSeconds === null ? 'without an end in sight' : formatLasting(slot.lastsSeconds)}
          {...(slot.lastsSeconds === null ? {} : { detail: 'at this rate, if nothing were applied' })}
        />
      </dl>
      <ProgressBar
        fraction={slot.retainedBytes / options.slotLimit}
        label="WAL kept, of the limit of this job"
        text={`${formatBytes(slot.retainedBytes)} of ${formatBytes(options.slotLimit)}`}
        tone={tone === 'good' ? 'active' : tone}
      />
      <p class={`slot-words tone-${tone}`}>{sentence.text}</p>
      <p class="muted">
        The job warns at {formatBytes(options.slotWarn)}, and gives the slot up at {formatBytes(options.slotLimit)}{' '}
        rather than fill the source’s disk.
      </p>
    </section>
  );
}
