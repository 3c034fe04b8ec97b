import type { Totals } from './totals.ts';

export function targetWarning(job: { readonly targetTouched: boolean }): string {
  return job.targetTouched ? 'The target is not a usable copy.' : 'The target was not touched.';
}

export function tablesDone(totals: Totals): string {
  return totals.tables === 0 ? 'nothing' : `${totals.tablesDone} of ${totals.tables} tables`;
}

export function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

export function clock(at: Date): string {
  return `${at.toISOString().slice(11, 16)} UTC`;
}
