import type { CutoverStep, Guardrail, SlotHealth } from '../../../src/contract/live.ts';
import { formatBytes } from '../format.ts';
import type { Tone } from '../words.ts';

export const guardrailWords: Record<Guardrail['id'], string> = {
  lag: 'The target is in step',
  'long-writes': 'No long transaction writes',
  'prepared-transactions': 'No prepared transaction is open',
  'schema-drift': 'Both schemas still fit',
  'target-written': 'Nobody else writes to the target',
  fence: 'Writes on the source can be held',
  slot: 'The source keeps what is missing',
};

export const guardrailStates: Record<Guardrail['state'], { readonly word: string; readonly tone: Tone }> = {
  ok: { word: 'OK', tone: 'good' },
  waits: { word: 'Waits', tone: 'warn' },
  blocks: { word: 'Blocks', tone: 'bad' },
};

/** Every step of a cutover in its order, as what is being done. */
export const stepWords: Record<CutoverStep['step'], string> = {
  prepare: 'Bring schema and views up to date',
  guardrails: 'Look at the conditions once more',
  fence: 'Hold writes on the source',
  drain: 'Apply what is still missing',
  sequences: 'Read the sequences',
  snapshots: 'Keep the source’s state for the proof',
  constraints: 'Foreign keys, triggers, rights',
  counts: 'Count the rows on both sides',
  'refuse-writes': 'Refuse writes on the source',
  'hand-over': 'The target takes over',
  'drop-slot': 'Drop slot and publication',
};

export const stepOrder = Object.keys(stepWords) as readonly CutoverStep['step'][];

/** Whether what the source keeps is anything to worry about, in one sentence. */
export function slotSentence(slot: SlotHealth): { readonly text: string; readonly tone: Tone } {
  switch (slot.walStatus) {
    case 'lost':
      return { text: 'The source has removed changes that the target still needs. The slot is lost.', tone: 'bad' };
    case 'unreserved':
      return { text: 'The source is about to remove changes that the target still needs.', tone: 'bad' };
    case 'extended':
      return {
        text: 'The source keeps more than its usual amount for this job, and still all that is needed.',
        tone: 'warn',
      };
    case 'reserved':
    case null:
      break;
  }
  if (!slot.active)
    return { text: 'Nobody reads the slot now; what the source keeps grows with every write.', tone: 'warn' };
  return slot.safeWalBytes === null
    ? { text: 'The source keeps all that is needed.', tone: 'good' }
    : {
        text: `The source keeps all that is needed; ${formatBytes(slot.safeWalBytes)} more before its own limit.`,
        tone: 'good',
      };
}
