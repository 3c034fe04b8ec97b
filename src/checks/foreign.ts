import { quoteIdent } from '../postgres/quote.ts';
import { failed, passed, skipped, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { inScope } from './scope.ts';
import { NAMED, count, listNames } from './words.ts';

export interface UserMapping {
  readonly server: string;
  readonly user: string;
  /** False where the role may not see the mapping's options. */
  readonly visible: boolean;
}

export interface ForeignServer {
  readonly name: string;
  readonly wrapper: string;
}

export interface ForeignFacts {
  readonly servers: readonly ForeignServer[];
  readonly mappings: readonly UserMapping[];
  /** Of the target: our role there, and the wrappers that stand there already and that it may not use. */
  readonly role: string;
  readonly closedWrappers: readonly string[];
}

/** Pure. */
export function judgeForeign(facts: ForeignFacts): Verdict {
  const { mappings } = facts;
  const servers = facts.servers.map((server) => quoteIdent(server.name));
  if (servers.length === 0) return passed('There are no foreign servers.');
  const closed = facts.closedWrappers.filter((name) => facts.servers.some((server) => server.wrapper === name));
  if (closed.length > 0) {
    const those = facts.servers.filter((server) => closed.includes(server.wrapper)).map((s) => quoteIdent(s.name));
    return failed(
      'WRAPPER_USAGE_DENIED',
      `The role ${facts.role} may not use ${count(closed.length, 'foreign data wrapper')} of the target (${listNames(closed.map(quoteIdent))}), so it cannot create ${count(those.length, 'foreign server')}: ${listNames(those)}.`,
      `GRANT USAGE ON FOREIGN DATA WRAPPER ${closed.map(quoteIdent).join(', ')} TO ${quoteIdent(facts.role)};`,
    );
  }
  const hidden = mappings.filter((m) => !m.visible);
  const reach = `${count(servers.length, 'foreign server')} (${listNames(servers)}): the target must reach ${servers.length === 1 ? 'it' : 'them'} from its own network.`;
  if (mappings.length === 0) return warned(reach);
  if (hidden.length === 0)
    return warned(`${reach} Options of user mappings (${mappings.length}) are carried, passwords included.`);
  return warned(
    `${reach} The options of ${count(hidden.length, 'user mapping')} (passwords) are hidden from this role and stay behind.`,
    hidden
      .slice(0, NAMED)
      .map(
        (m) =>
          `ALTER USER MAPPING FOR ${m.user === 'public' ? 'PUBLIC' : quoteIdent(m.user)} SERVER ${quoteIdent(m.server)} OPTIONS (ADD password '…'); -- on the target, after the copy`,
      )
      .join('\n'),
  );
}

/** Options are shown to superusers, the server's owner with USAGE, and the mapped user (PostgreSQL documentation, 54.37 "pg_user_mappings"). */
const USER_MAPPINGS = `
SELECT srvname AS server, CASE WHEN umuser = 0 THEN 'public' ELSE usename END AS user,
  umoptions IS NOT NULL OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS visible
FROM pg_user_mappings`;

const WRAPPERS = `SELECT s.srvname AS name, w.fdwname AS wrapper FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw`;

const CLOSED = `
SELECT fdwname AS name FROM pg_foreign_data_wrapper WHERE NOT has_foreign_data_wrapper_privilege(oid, 'USAGE') ORDER BY 1`;

export const foreignCheck: Check = {
  id: 'objects.foreign',
  severity: 'blocks',
  title: 'Foreign servers can be created on the target, and their user mappings are known.',
  needs: 'both',
  side: 'source',
  run: async (source, target, { options }) => {
    if (options.dataOnly) return skipped('The job moves data only: no definition is restored.');
    const names = (await source.objects()).filter((o) => o.kind === 'SERVER' && inScope(options, o)).map((o) => o.name);
    const { role } = target.identity;
    if (names.length === 0) return judgeForeign({ servers: [], mappings: [], role, closedWrappers: [] });
    const servers = await source.session.query<ForeignServer & Record<string, unknown>>(WRAPPERS);
    const closed = await target.session.query<{ name: string }>(CLOSED);
    return judgeForeign({
      servers: servers.filter((server) => names.includes(server.name)),
      mappings: await source.session.query<UserMapping & Record<string, unknown>>(USER_MAPPINGS),
      role,
      closedWrappers: closed.map((row) => row.name),
    });
  },
};
