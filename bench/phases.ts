import { readFile } from 'node:fs/promises';
import { z } from 'zod';

const PhaseLine = z.object({
  type: z.literal('phase'),
  phase: z.string(),
  status: z.literal('finished'),
  seconds: z.number(),
});
const ResultLine = z.object({
  type: z.literal('result'),
  status: z.string(),
  verified: z.boolean(),
  seconds: z.number(),
});

/** Where the time of a `clone --json` went. */
export interface CloneLog {
  /** Seconds of each finished phase, in order; phases may overlap. */
  readonly phases: readonly { readonly phase: string; readonly seconds: number }[];
  readonly verified: boolean;
}

/** Reads the lines of `clone --json`; lines that are no JSON are somebody else's warnings. */
export function parseCloneLog(text: string): CloneLog {
  const phases: { phase: string; seconds: number }[] = [];
  let verified = false;
  for (const line of text.split('\n').filter((candidate) => candidate.startsWith('{'))) {
    const json: unknown = JSON.parse(line);
    const phase = PhaseLine.safeParse(json).data;
    if (phase !== undefined) phases.push({ phase: phase.phase, seconds: phase.seconds });
    verified = ResultLine.safeParse(json).data?.verified ?? verified;
  }
  return { phases, verified };
}

export async function readCloneLog(file: string): Promise<CloneLog> {
  return parseCloneLog(await readFile(file, 'utf8'));
}
