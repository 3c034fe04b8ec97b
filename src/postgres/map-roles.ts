import type { Archive, ArchiveEntry } from './archive.ts';
import { quoteIdent } from './quote.ts';
import { isKeyword, sqlWords } from './sql-words.ts';
import type { SqlWord } from './sql-words.ts';

/** Roles by their name on the source, and who takes their place on the target: the option mapRole. */
export type RoleMap = Readonly<Record<string, string>>;

export function mapsRoles(map: RoleMap): boolean {
  return Object.keys(map).length > 0;
}

/** Who takes the place of this role; itself when nobody does. */
export function mappedRole(map: RoleMap, role: string): string {
  return Object.hasOwn(map, role) ? (map[role] ?? role) : role;
}

/** Words that stand for a role without being one's name. */
const nobody: ReadonlySet<string> = new Set(['public', 'current_user', 'session_user', 'current_role']);

/** `a, b` from this word on. */
function list(words: readonly SqlWord[], from: number): SqlWord[] {
  const found: SqlWord[] = [];
  for (let at = from; ; at += 2) {
    const word = words[at];
    if (word?.kind !== 'name') break;
    if (word.quoted || !nobody.has(word.value)) found.push(word);
    if (words[at + 1]?.value !== ',') break;
  }
  return found;
}

/** Index of the first keyword outside of parentheses, or -1. TO and FROM are reserved: no name reads so without quotes. */
function find(words: readonly SqlWord[], keyword: string, from = 0): number {
  return words.findIndex((word, at) => at >= from && word.depth === 0 && isKeyword(word, keyword));
}

function starts(words: readonly SqlWord[], text: string): boolean {
  return text.split(' ').every((keyword, at) => isKeyword(words[at], keyword));
}

function grantees(words: readonly SqlWord[]): SqlWord[] {
  const given = find(words, 'to');
  const at = given >= 0 ? given : find(words, 'from');
  return at < 0 ? [] : list(words, at + 1);
}

/** `ALTER … OWNER TO role;` */
function newOwner(words: readonly SqlWord[]): SqlWord[] {
  const end = words.at(-1)?.value === ';' ? words.length - 1 : words.length;
  const owner = words.length >= 5 && isKeyword(words[end - 3], 'owner') && isKeyword(words[end - 2], 'to');
  return owner && starts(words, 'alter') ? list(words, end - 1) : [];
}

interface NamedRole {
  readonly word: SqlWord;
  /** Whoever runs the statement has to be a member of the role. */
  readonly acts: boolean;
}

const acting = (words: readonly SqlWord[]): NamedRole[] => words.map((word) => ({ word, acts: true }));
const named = (words: readonly SqlWord[]): NamedRole[] => words.map((word) => ({ word, acts: false }));

/** Where roles stand in a statement of pg_dump's, by the kind of its entry (PostgreSQL source, pg_dump.c and dumputils.c). */
function roleWords(type: string, statement: string): NamedRole[] {
  const grants = type === 'ACL' || type === 'DEFAULT ACL';
  if (!grants && type !== 'POLICY' && type !== 'USER MAPPING' && !/\bOWNER TO\b/.test(statement)) return [];
  const words = sqlWords(statement);
  if (grants && starts(words, 'set session authorization')) return acting(list(words, 3));
  if (grants && starts(words, 'set role')) return acting(list(words, 2));
  if (grants && starts(words, 'alter default privileges')) {
    return [...(starts(words.slice(3), 'for role') ? acting(list(words, 5)) : []), ...named(grantees(words))];
  }
  if (grants) return named(grantees(words));
  if (type === 'POLICY' && starts(words, 'create policy')) {
    const to = find(words, 'to');
    return to < 0 ? [] : named(list(words, to + 1));
  }
  if (type === 'USER MAPPING' && starts(words, 'create user mapping for')) return named(list(words, 4));
  return acting(newOwner(words));
}

function mapStatement(type: string, statement: string, map: RoleMap): string {
  let mapped = statement;
  for (const { word } of roleWords(type, statement).toReversed()) {
    mapped = mapped.slice(0, word.start) + quoteIdent(mappedRole(map, word.value)) + mapped.slice(word.end);
  }
  return mapped;
}

/** pg_dump names a user mapping by its role and its server. */
function mapName(entry: ArchiveEntry, map: RoleMap): string {
  if (entry.type !== 'USER MAPPING') return entry.name;
  const [role] = entry.statements.flatMap((statement) => roleWords(entry.type, statement));
  const head = `USER MAPPING ${role?.word.value ?? ''} SERVER `;
  return role === undefined || !entry.name.startsWith(head)
    ? entry.name
    : `USER MAPPING ${mappedRole(map, role.word.value)} SERVER ${entry.name.slice(head.length)}`;
}

/**
 * Every role that the entry's statements name: owners, grantors and grantees, whom a policy or user mapping is for. True for
 * those that whoever restores it has to act as. Pure.
 */
export function rolesOfEntry(entry: ArchiveEntry): Map<string, boolean> {
  const roles = new Map<string, boolean>();
  for (const { word, acts } of entry.statements.flatMap((statement) => roleWords(entry.type, statement))) {
    roles.set(word.value, acts || roles.get(word.value) === true);
  }
  return roles;
}

/**
 * The entry with its owner and every role that its statements name replaced. Names of roles come out in quotes, mapped or not,
 * so that two archives that went through this compare by their roles and not by how these are written. Pure.
 */
export function mapEntryRoles(entry: ArchiveEntry, map: RoleMap): ArchiveEntry {
  return {
    ...entry,
    name: mapName(entry, map),
    owner: entry.owner === null ? null : mappedRole(map, entry.owner),
    statements: entry.statements.map((statement) => mapStatement(entry.type, statement, map)),
  };
}

/** Every entry through {@link mapEntryRoles}. Pure. */
export function mapArchiveRoles(archive: Archive, map: RoleMap): Archive {
  return { entries: archive.entries.map((entry) => mapEntryRoles(entry, map)) };
}

/**
 * pg_dump lists a policy's roles in no order: as it finds them in the server's catalogue. Here they are sorted, each once, in
 * quotes. Pure.
 */
export function sortPolicyRoles(entry: ArchiveEntry): ArchiveEntry {
  if (entry.type !== 'POLICY') return entry;
  const statements = entry.statements.map((statement) => {
    const words = roleWords(entry.type, statement).map(({ word }) => word);
    const [first, last] = [words[0], words.at(-1)];
    if (first === undefined || last === undefined) return statement;
    const names = [...new Set(words.map(({ value }) => quoteIdent(value)))].toSorted();
    return statement.slice(0, first.start) + names.join(', ') + statement.slice(last.end);
  });
  return { ...entry, statements };
}

const setRole = /^(RE)?SET (ROLE|SESSION AUTHORIZATION)\b/;

/**
 * Grants that a grantee passed on are made in its name. Only a superuser may change the session's authorization for that;
 * whoever is a member of the role says SET ROLE instead. Pure.
 */
export function grantAsMember(entry: ArchiveEntry): ArchiveEntry {
  return withWord(entry, 'ROLE');
}

/** The counterpart of {@link grantAsMember}: as pg_dump prints it. Pure. */
export function grantAsDumped(entry: ArchiveEntry): ArchiveEntry {
  return withWord(entry, 'SESSION AUTHORIZATION');
}

function withWord(entry: ArchiveEntry, word: 'ROLE' | 'SESSION AUTHORIZATION'): ArchiveEntry {
  if (entry.type !== 'ACL' && entry.type !== 'DEFAULT ACL') return entry;
  if (!entry.statements.some((statement) => setRole.test(statement))) return entry;
  const statements = entry.statements.map((statement) =>
    statement.replace(setRole, (_, reset: string | undefined) => `${reset ?? ''}SET ${word}`),
  );
  return { ...entry, statements };
}
