import { createDatabase, hasIcu, missingLocales, readDatabaseFacts } from '../postgres/database-facts.ts';
import type { DatabaseFacts } from '../postgres/database-facts.ts';
import { mappedRole } from '../postgres/map-roles.ts';
import { quoteIdent, quoteLiteral } from '../postgres/quote.ts';
import { readRoleRights } from '../postgres/role-facts.ts';
import { settingName } from '../postgres/stored-settings.ts';
import { failed, passed, skipped, warned } from './check.ts';
import type { Check, Scope, Verdict } from './check.ts';
import type { Database } from './database.ts';
import { listNames } from './words.ts';

export interface NewDatabase {
  readonly name: string;
  readonly facts: DatabaseFacts;
  /** Of the target. */
  readonly major: number;
  readonly role: string;
  /** Who will own it when the job is done, and whether the role may give it away. */
  readonly owner: string;
  readonly mayGive: boolean;
  readonly icu: boolean;
  readonly missingLocales: readonly string[];
  /** Parameters among its settings that take a superuser. */
  readonly reserved: readonly string[];
}

function localeWords({ facts }: NewDatabase): string {
  const libc = facts.collate === facts.ctype ? facts.collate : `${facts.collate}, ctype ${facts.ctype}`;
  return facts.locale === null ? `locale ${libc}` : `${facts.localeProvider} locale ${facts.locale} beside ${libc}`;
}

/** Says what will be made, or why it cannot be made. Pure. */
export function judgeNewDatabase(input: NewDatabase): Verdict {
  const { name, facts, major } = input;
  if (input.missingLocales.length > 0) {
    const names = listNames(input.missingLocales.map(quoteLiteral));
    return failed(
      'LOCALE_MISSING',
      `The database ${quoteIdent(name)} cannot be made with the source's locale: the target's operating system has no ${names}.`,
      `-- on the target's machine, as root (Debian: localedef -i … -f UTF-8 ${input.missingLocales[0] ?? ''}), then restart the server\n-- or make it with a locale that is there, and leave --create-database out:\nCREATE DATABASE ${quoteIdent(name)} TEMPLATE template0 ENCODING ${quoteLiteral(facts.encoding)} LOCALE 'C';`,
    );
  }
  if (facts.localeProvider === 'icu' && major >= 15 && !input.icu) {
    return failed(
      'LOCALE_MISSING',
      `The database ${quoteIdent(name)} cannot be made with the source's ICU locale ${facts.locale ?? ''}: the target was built without ICU.`,
      `CREATE DATABASE ${quoteIdent(name)} TEMPLATE template0 ENCODING ${quoteLiteral(facts.encoding)} LOCALE ${quoteLiteral(facts.collate)}; -- and leave --create-database out`,
    );
  }
  const { lost } = createDatabase(name, facts, major);
  const owner = input.owner === input.role ? '' : `, then given to ${quoteIdent(input.owner)}`;
  const found = `The target has no database ${quoteIdent(name)}. It will be made from template0 with encoding ${facts.encoding} and ${localeWords(input)}, owned by ${quoteIdent(input.role)}${owner}, and gets the source's settings, comment and grants when the job is done.`;
  const notes = [
    ...lost,
    ...(input.reserved.length === 0 ? [] : [`Only a superuser may set ${listNames(input.reserved)} for it`]),
    ...(owner === '' || input.mayGive
      ? []
      : [`${quoteIdent(input.role)} may not give it to ${quoteIdent(input.owner)}`]),
  ];
  return notes.length === 0
    ? passed(found)
    : warned(`${found} ${notes.join('. ')}.`, 'What is left over stands in the report when the job is done.');
}

async function readNewDatabase(
  facts: DatabaseFacts,
  target: Database,
  { options }: Pick<Scope, 'options'>,
): Promise<NewDatabase> {
  const rights = await readRoleRights(target.session, target.identity.database);
  const owner = options.noOwner ? rights.role : mappedRole(options.mapRole, facts.owner);
  const [may] = await target.session.query<{ member: boolean }>(
    `SELECT pg_has_role(oid, '${rights.major >= 16 ? 'SET' : 'MEMBER'}') AS member FROM pg_roles WHERE rolname = $1`,
    [owner],
  );
  return {
    name: target.identity.database,
    facts,
    major: rights.major,
    role: rights.role,
    owner,
    mayGive: rights.superuser || (may === undefined ? options.roles === 'create' : may.member),
    icu: await hasIcu(target.session),
    missingLocales: await missingLocales(target.session, [facts.collate, facts.ctype]),
    reserved: facts.settings.map(settingName).filter((setting) => rights.reserved.has(setting.toLowerCase())),
  };
}

/** Whether a database that does not exist yet can be made as a source or an archive says it was. */
export async function newDatabaseOf(
  facts: DatabaseFacts,
  target: Database,
  scope: Pick<Scope, 'options'>,
): Promise<Verdict> {
  return judgeNewDatabase(await readNewDatabase(facts, target, scope));
}

const NOT_ASKED = 'The target database exists, or is not to be made.';

const newDatabase: Check = {
  id: 'server.target-database',
  severity: 'blocks',
  title: "The target's database exists, or can be made as the source's is.",
  needs: 'both',
  side: 'target',
  run: async (source, target, scope) => {
    if (!scope.options.createDatabase) return skipped(NOT_ASKED);
    if (!target.absent)
      return passed(
        `The database ${target.identity.database} exists and is left as it is (server.settings tells what differs).`,
      );
    return newDatabaseOf(await readDatabaseFacts(source.session), target, scope);
  },
};

export function judgeCreateDatabase(role: string, database: string, allowed: boolean): Verdict {
  if (allowed) return passed(`The role ${role} may make the database ${quoteIdent(database)}.`);
  return failed(
    'CREATEDB_DENIED',
    `The target has no database ${quoteIdent(database)}, and the role ${role} may not make it.`,
    `ALTER ROLE ${quoteIdent(role)} CREATEDB;\n-- or, as one that may: CREATE DATABASE ${quoteIdent(database)} OWNER ${quoteIdent(role)};`,
  );
}

const mayCreate: Check = {
  id: 'server.create-database',
  severity: 'blocks',
  title: "The target role may make the target's database.",
  needs: 'target',
  run: async (target) => {
    if (!target.absent) return skipped(NOT_ASKED);
    const row = await target.one<{ allowed: boolean }>(
      'SELECT rolcreatedb OR rolsuper AS allowed FROM pg_roles WHERE rolname = current_user',
    );
    return judgeCreateDatabase(target.identity.role, target.identity.database, row.allowed);
  },
};

export const newDatabaseChecks: readonly Check[] = [newDatabase, mayCreate];

/**
 * What a check would say of the database beside which it was asked, though it is about one that does not exist yet: there is
 * nothing in that, and it is made as the source's is. With data only the tables are missing, and the checks find that themselves.
 */
const ofNewDatabase: Readonly<Record<string, string>> = {
  'capacity.target-empty': 'The target database does not exist yet: it will be made, and is empty then.',
  'server.encoding': "The target database will be made with the source's encoding.",
  'server.locale': "The target database will be made with the source's locale (server.target-database says how).",
  'server.settings': "The target database will be made, and gets the source's settings when the job is done.",
  'privilege.target-create': 'The target role will own the database that it makes.',
  'leftovers.target': 'The target database does not exist yet.',
  'live.target-progress': 'The target database does not exist yet.',
};

/** null where the check is made as ever. Pure. */
export function verdictOfNewDatabase(id: string, dataOnly: boolean): Verdict | null {
  const found = dataOnly ? undefined : ofNewDatabase[id];
  return found === undefined ? null : passed(found);
}
