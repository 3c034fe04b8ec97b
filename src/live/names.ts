import { createHash } from 'node:crypto';

/** What every slot, publication and session of a job begins with on the servers. */
export const NAME_PREFIX = 'pgsluice_';

/** NAMEDATALEN − 1: longer names are refused (slots) or cut (publications) by the server. */
const LONGEST_NAME = 63;

function nameOf(jobId: string): string {
  const name = `${NAME_PREFIX}${jobId}`;
  if (!/^[a-z0-9_]+$/.test(name) || name.length > LONGEST_NAME)
    throw new RangeError(`${jobId} is no job id that a slot can be named by`);
  return name;
}

/** Name of the job's replication slot. @throws RangeError for an id that no slot can be named by (letters a–z, digits, underscores). */
export function slotName(jobId: string): string {
  return nameOf(jobId);
}

/** Name of the job's publication. @throws RangeError like `slotName`. */
export function publicationName(jobId: string): string {
  return nameOf(jobId);
}

/** The job that a slot or publication belongs to; null for a name that is not ours. */
export function jobOfName(name: string): string | null {
  return name.startsWith(NAME_PREFIX) && name.length > NAME_PREFIX.length ? name.slice(NAME_PREFIX.length) : null;
}

/**
 * `purpose` of a session that holds something for a job (a slot in the making, a fence): its application_name becomes
 * `pgsluice fence <job>`, by which the clean-up of that job, and of no other, finds it after its agent died.
 */
export function holdingPurpose(what: 'slot' | 'fence', jobId: string): string {
  return `${what} ${jobId}`;
}

/** Key of the advisory lock under which a slot and its publication are made and dropped; 64 bits with sign. */
export function advisoryKey(name: string): bigint {
  return createHash('sha256').update(`pgsluice ${name}`).digest().readBigInt64BE(0);
}
