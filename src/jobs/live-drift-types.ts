import type { PgsluiceError } from '../errors.ts';

/** What a run asks about changes of the source's schema. */
export interface LiveDrift {
  /** Looks now and then, and carries over what may be carried. Answers what a person has to do first; null for nothing. */
  look(): Promise<PgsluiceError | null>;
  /** Explains why the target did not take a change. `again`: it does now, so following may be started anew. */
  explain(error: PgsluiceError): Promise<'again' | PgsluiceError>;
  /** A person has resumed the job: what the target still lacks, or null. */
  resumed(): Promise<PgsluiceError | null>;
  /** What is open between both sides' schemas now; null when they agree. */
  readonly open: { readonly found: string; readonly remedy: string } | null;
  /**
   * Before the fence: brings what the cutover works from up to date. What cannot be cut short when `signal` fires comes to its
   * end, and the next look waits for it. @throws PgsluiceError SCHEMA_DRIFT; the signal's reason.
   */
  beforeFence(signal: AbortSignal): Promise<void>;
  /** Under the fence. @throws PgsluiceError SCHEMA_DRIFT when the schema has changed since `beforeFence`. */
  underFence(): Promise<void>;
  close(): Promise<void>;
}
