import type { ArchiveEntry } from '../postgres/archive.ts';
import { grantsOf } from './mapped-grants.ts';

const TIMESTAMP = /'(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(\.\d+)?([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?'/g;

/**
 * Moments with a zone as UTC has them: pg_dump prints them in the zone that the dumped database is set to, and pgsluice asks
 * for UTC. Pure.
 */
export function inUtc(text: string): string {
  return text.replaceAll(TIMESTAMP, (...match: string[]) => {
    const [, year, month, day, hour, minute, second, fraction, sign, zoneHour, zoneMinute, zoneSecond] = match;
    const local = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second));
    const zone = Number(zoneHour) * 3600 + Number(zoneMinute ?? 0) * 60 + Number(zoneSecond ?? 0);
    const moment = new Date(local - (sign === '-' ? -zone : zone) * 1000).toISOString();
    return `'${moment.slice(0, 10)} ${moment.slice(11, 19)}${fraction ?? ''}+00'`;
  });
}

/**
 * An entry's text without what only the version of pg_dump decides, where each says the same (PostgreSQL source, pg_dump.c of 12
 * to 18). `targetMajor`: of the server that has read the one text and printed the other. Pure.
 */
export function withoutDumpVersion(type: string, text: string, targetMajor: number): string {
  const words = inUtc(text);
  if (type === 'FOREIGN TABLE') return words.replaceAll('ALTER FOREIGN TABLE ONLY ', 'ALTER FOREIGN TABLE ');
  // Before 16 two blanks stood behind the kind of object.
  if (type === 'DEFAULT ACL') return words.replaceAll(/ ON (\w+) {2}(TO|FROM) /g, ' ON $1 $2 ');
  // From 18 on `off` has to be said, since it is no longer what is meant without.
  if (type === 'SUBSCRIPTION' && targetMajor < 18) return words.replace(', streaming = off', '');
  return words;
}

const TABLE_RIGHTS = ['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger', 'maintain'];

/** Who may do what in the end, as text; the owner's own MAINTAIN apart. */
function effect(entry: ArchiveEntry, owner: string): string {
  const rights = new Map(TABLE_RIGHTS.map((right) => [JSON.stringify([owner, right]), '']));
  for (const { verb, right, role, grantable, grantor } of grantsOf(entry, true)) {
    const key = JSON.stringify([role.trim(), right]);
    if (verb === 'grant') rights.set(key, `${grantable} ${grantor ?? ''}`);
    else rights.delete(key);
  }
  rights.delete(JSON.stringify([owner, 'maintain']));
  return [...rights]
    .map(([key, how]) => `${key} ${how}`)
    .toSorted()
    .join('\n');
}

/**
 * Whether the grants on a table come to the same on a server that knows MAINTAIN as they did on one that did not: there an owner
 * could neither have nor lose it. Pure.
 */
export function sameTableGrants(source: ArchiveEntry, target: ArchiveEntry): boolean {
  if (!source.name.startsWith('TABLE ') || source.owner === null || target.owner === null) return false;
  return effect(source, source.owner) === effect(target, target.owner);
}
