import type { CheckResult } from '../contract/check.ts';
import type { AcceptanceRow } from '../store/acceptance-queries.ts';

/** The check with the acceptance that holds for it: of the same warning, word for word. Pure. */
export function withAcceptance(check: CheckResult, acceptances: readonly AcceptanceRow[]): CheckResult {
  const row = acceptances.find((one) => one.checkId === check.id && one.side === check.side);
  if (row === undefined || check.outcome !== 'warned' || check.found !== row.found) return { ...check, accepted: null };
  return { ...check, accepted: { by: row.acceptedBy, at: row.acceptedAt.toISOString(), note: row.note } };
}

/** Those that a person has accepted. Pure. */
export function acceptedOf(checks: readonly CheckResult[]): CheckResult[] {
  return checks.filter((check) => (check.accepted ?? null) !== null);
}
