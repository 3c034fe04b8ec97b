import type { ArchiveEntry } from '../postgres/archive.ts';
import { isKeyword, sqlWords } from '../postgres/sql-words.ts';
import type { SqlWord } from '../postgres/sql-words.ts';
import type { CatalogueComparison, EntryPair } from './catalogue.ts';

/** What ALL stands for, by the kind of object (PostgreSQL documentation, table 5.2). MAINTAIN came with 17. */
const everyRight: Readonly<Record<string, readonly string[]>> = {
  table: ['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger'],
  sequence: ['select', 'usage', 'update'],
  schema: ['usage', 'create'],
  function: ['execute'],
};
const kindOfDefault: Readonly<Record<string, string>> = {
  tables: 'table',
  sequences: 'sequence',
  schemas: 'schema',
  functions: 'function',
  routines: 'function',
  procedure: 'function',
  routine: 'function',
};

/** One right that a statement gives or takes. */
export interface Grant {
  readonly verb: 'grant' | 'revoke';
  readonly right: string;
  readonly role: string;
  readonly grantable: boolean;
  /** In whose name; null: the owner's. */
  readonly grantor: string | null;
  /** Object and all else that the statement says. */
  readonly about: string;
}

function indexOf(words: readonly SqlWord[], keyword: string): number {
  return words.findIndex((word) => word.depth === 0 && isKeyword(word, keyword));
}

/** The rights between `from` and ON, a column list as a part of its right. */
function rightsOf(words: readonly SqlWord[], kind: string, maintain: boolean): string[] {
  const rights: string[] = [];
  for (const word of words) {
    if (word.depth === 0 && word.value === ',') continue;
    if (word.depth === 0 && word.kind === 'name') rights.push(word.value);
    else rights.push((rights.pop() ?? '') + (word.quoted ? `"${word.value}"` : word.value));
  }
  return rights.flatMap((right) => {
    if (right !== 'all') return [right];
    const every = everyRight[kind] ?? ['usage'];
    return maintain && kind === 'table' ? [...every, 'maintain'] : every;
  });
}

/** The statements of an entry of pg_dump's, right by right. */
export function grantsOf(entry: ArchiveEntry, maintain: boolean): Grant[] {
  const grants: Grant[] = [];
  let grantor: string | null = null;
  for (const statement of entry.statements) {
    const words = sqlWords(statement);
    if (isKeyword(words[0], 'set')) grantor = words.at(-2)?.value ?? null;
    if (isKeyword(words[0], 'reset')) grantor = null;
    const at = words.findIndex((word) => isKeyword(word, 'grant') || isKeyword(word, 'revoke'));
    const verb = isKeyword(words[at], 'grant') ? 'grant' : 'revoke';
    const on = indexOf(words, 'on');
    const to = indexOf(words, verb === 'grant' ? 'to' : 'from');
    const role = words[to + 1];
    if (at < 0 || on < 0 || to < 0 || role === undefined) continue;
    const option = words.slice(at + 1, at + 4).every((word, n) => isKeyword(word, ['grant', 'option', 'for'][n] ?? ''));
    const kind = words[on + 1]?.value ?? '';
    const about =
      statement.slice(words[0]?.start ?? 0, words[at]?.start ?? 0) +
      statement.slice(words[on]?.start, words[to]?.start);
    const rights = rightsOf(words.slice(option ? at + 4 : at + 1, on), kindOfDefault[kind] ?? kind, maintain);
    for (const right of rights) {
      const grantable = option || words.slice(to + 2).some((word) => isKeyword(word, 'option'));
      grants.push({ verb, right, role: role.quoted ? role.value : `${role.value} `, grantable, grantor, about });
    }
  }
  return grants;
}

/**
 * What the grants come to once several roles have become one: a right with its grant option includes the one without, and what
 * an owner that was robbed of nothing is granted, it has.
 */
function settled(grants: readonly Grant[], owner: string | null): Set<string> {
  const robbed = grants.some(({ verb, role }) => verb === 'revoke' && role === owner);
  const key = (grant: Grant): string =>
    JSON.stringify([grant.verb, grant.right, grant.role, grant.grantor === owner ? null : grant.grantor, grant.about]);
  const grantable = new Set(grants.filter((grant) => grant.grantable).map(key));
  const own = ({ verb, role }: Grant): boolean => verb === 'grant' && role === owner && !robbed;
  return new Set(grants.filter((grant) => !own(grant)).map((grant) => `${key(grant)} ${grantable.has(key(grant))}`));
}

export interface MappedGrantsInput {
  readonly source: readonly ArchiveEntry[];
  readonly target: readonly ArchiveEntry[];
  /** Of the object, on the target; null where it is not known or there is none. */
  readonly owner: string | null;
  readonly targetMajor: number;
}

/** True when the grants of the source, roles mapped already, come to those of the target. Pure. */
export function sameMappedGrants({ source, target, owner, targetMajor }: MappedGrantsInput): boolean {
  // What a source before 17 grants as ALL, a target of 17 takes with MAINTAIN.
  const maintain = targetMajor >= 17;
  const here = settled(
    source.flatMap((entry) => grantsOf(entry, maintain)),
    owner,
  );
  const there = settled(
    target.flatMap((entry) => grantsOf(entry, maintain)),
    owner,
  );
  return here.size === there.size && [...here].every((grant) => there.has(grant));
}

const keyOf = (entry: ArchiveEntry): string => JSON.stringify([entry.type, entry.schema, entry.name]);
const isGrant = (entry: ArchiveEntry): boolean => entry.type === 'ACL' || entry.type === 'DEFAULT ACL';

/**
 * A comparison without the entries of grants that say the same although several roles of the source are one on the target.
 * `ownerOf`: of the object that an entry of grants is about. Pure.
 */
export function withoutSameGrants(
  comparison: CatalogueComparison,
  about: { readonly targetMajor: number; ownerOf(entry: ArchiveEntry): string | null },
): CatalogueComparison {
  const groups = new Map<string, { source: ArchiveEntry[]; target: ArchiveEntry[] }>();
  const group = (entry: ArchiveEntry): { source: ArchiveEntry[]; target: ArchiveEntry[] } => {
    const found = groups.get(keyOf(entry)) ?? { source: [], target: [] };
    groups.set(keyOf(entry), found);
    return found;
  };
  for (const entry of comparison.missing.filter(isGrant)) group(entry).source.push(entry);
  for (const entry of comparison.extra.filter(isGrant)) group(entry).target.push(entry);
  for (const { source, target } of comparison.different.filter((pair) => isGrant(pair.source))) {
    group(source).source.push(source);
    group(target).target.push(target);
  }
  const same = new Set<string>();
  for (const [key, { source, target }] of groups) {
    const [entry] = source;
    const owner = entry?.type === 'ACL' ? about.ownerOf(entry) : null;
    if (sameMappedGrants({ source, target, owner, targetMajor: about.targetMajor })) same.add(key);
  }
  const open = (entry: ArchiveEntry): boolean => !same.has(keyOf(entry));
  return {
    ...comparison,
    missing: comparison.missing.filter(open),
    extra: comparison.extra.filter(open),
    different: comparison.different.filter((pair: EntryPair) => open(pair.source)),
  };
}
