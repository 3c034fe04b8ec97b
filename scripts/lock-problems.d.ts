export interface LockEntry {
  readonly version?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly link?: boolean;
  readonly hasInstallScript?: boolean;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly devOptional?: boolean;
}

export interface Lock {
  readonly packages?: Readonly<Record<string, LockEntry>>;
}

/** What keeps a lockfile from pinning every package to its bytes, in words; empty when nothing does. Pure. */
export function lockProblems(lock: Lock, manifest: Readonly<Record<string, unknown>>): string[];
