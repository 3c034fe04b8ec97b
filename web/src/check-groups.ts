import type { CheckFamily, CheckResult } from '../../src/contract/check.ts';
import { familyWords } from './words.ts';

/** Every family there is: one that were missing here would hide its checks, blockers included. */
const familyOrder = Object.keys(familyWords) as readonly CheckFamily[];

export interface FamilyGroup {
  readonly family: CheckFamily;
  readonly checks: readonly CheckResult[];
}

export interface CheckGroups {
  /** Stop the migration. */
  readonly blockers: readonly FamilyGroup[];
  /** Stop nothing, but should be known; those that a person lets stand among them. */
  readonly warnings: readonly FamilyGroup[];
  /** Passed, for information, or skipped. */
  readonly others: readonly FamilyGroup[];
  /** `warnings` are those that nobody has accepted. */
  readonly counts: {
    readonly blockers: number;
    readonly warnings: number;
    readonly accepted: number;
    readonly passed: number;
  };
}

function byFamily(checks: readonly CheckResult[]): FamilyGroup[] {
  return familyOrder
    .map((family) => ({ family, checks: checks.filter((check) => check.family === family) }))
    .filter((group) => group.checks.length > 0);
}

/** Sorts checks into what blocks, what warns and the rest, each by family. */
export function groupChecks(checks: readonly CheckResult[]): CheckGroups {
  const blockers = checks.filter((check) => check.outcome === 'failed');
  const warnings = checks.filter((check) => check.outcome === 'warned');
  const accepted = warnings.filter((check) => (check.accepted ?? null) !== null);
  const others = checks.filter((check) => check.outcome !== 'failed' && check.outcome !== 'warned');
  return {
    blockers: byFamily(blockers),
    warnings: byFamily(warnings),
    others: byFamily(others),
    counts: {
      blockers: blockers.length,
      warnings: warnings.length - accepted.length,
      accepted: accepted.length,
      passed: checks.filter((check) => check.outcome === 'passed').length,
    },
  };
}
