import type { AuditEntry, Role, ShareView, TokenView } from '../../contract/access.ts';
import type { ConnectFlags } from '../connect.ts';
import type { Context } from '../context.ts';
import { exitCodes } from '../exit.ts';
import { clean, padTo } from '../text.ts';
import { resolveId } from './find-job.ts';
import { withClient } from './jobs.ts';

interface AccessFlags extends ConnectFlags {
  readonly json?: true;
}

export interface CreateTokenFlags extends AccessFlags {
  readonly name: string;
  readonly role: Role;
  /** Seconds. */
  readonly expires?: number;
}

/** `pgsluice token create`: the token alone goes to stdout, so that it can be put into a variable. */
export function createToken(context: Context, flags: CreateTokenFlags): Promise<number> {
  const { output } = context;
  return withClient(context, flags, async ({ access }) => {
    const { name, role, expires } = flags;
    const token = await access.createToken({ name, role, expiresIn: expires ?? null });
    if (flags.json) output.out(`${JSON.stringify(token)}\n`);
    else {
      const until = token.expiresAt === null ? 'until it is revoked' : `until ${token.expiresAt}`;
      output.err(`Token ${token.id} of role ${role} for ${clean(name)}, ${until}. It is shown this once:\n`);
      output.out(`${token.token}\n`);
    }
    return exitCodes.done;
  });
}

export function listTokens(context: Context, flags: AccessFlags): Promise<number> {
  const { output } = context;
  return withClient(context, flags, async ({ access, where }) => {
    const tokens = await access.tokens();
    if (flags.json) for (const token of tokens) output.out(`${JSON.stringify(token)}\n`);
    else if (tokens.length === 0) output.out(`No tokens in ${where} but the agent's own.\n`);
    else output.out(tokenTable(tokens));
    return exitCodes.done;
  });
}

const stateOf = ({ expiresAt, revokedAt }: Pick<TokenView, 'expiresAt' | 'revokedAt'>): string => {
  if (revokedAt !== null) return 'revoked';
  if (expiresAt === null) return 'valid';
  return Date.parse(expiresAt) < Date.now() ? 'expired' : `until ${expiresAt.slice(0, 16)}Z`;
};

const row = (...cells: readonly (readonly [text: string, width: number])[]): string =>
  `${cells
    .map(([text, width]) => padTo(clean(text), width))
    .join('  ')
    .trimEnd()}\n`;

function tokenTable(tokens: readonly TokenView[]): string {
  const head = row(['TOKEN', 10], ['ROLE', 7], ['STATE', 23], ['LAST USED', 17], ['NAME', 4]);
  const line = (token: TokenView): string => {
    const used = token.lastUsedAt === null ? 'never' : `${token.lastUsedAt.slice(0, 16)}Z`;
    return row([token.id, 10], [token.role, 7], [stateOf(token), 23], [used, 17], [token.name, 100]);
  };
  return head + tokens.map(line).join('');
}

export function revokeToken(context: Context, id: string, flags: AccessFlags): Promise<number> {
  const { output } = context;
  return withClient(context, flags, async ({ access }) => {
    const token = await access.revokeToken(id);
    output.out(flags.json ? `${JSON.stringify(token)}\n` : `Token ${token.id} (${clean(token.name)}) is revoked.\n`);
    return exitCodes.done;
  });
}

export interface ShareFlags extends AccessFlags {
  /** Seconds. */
  readonly expires: number;
  readonly list?: true;
  readonly revoke?: string;
}

/** `pgsluice share JOB`: a link to it, or those that there are, or the end of one. */
export function shareJob(context: Context, job: string, flags: ShareFlags): Promise<number> {
  const { output } = context;
  return withClient(context, flags, async (client) => {
    const { access } = client;
    const id = await resolveId(client, job);
    if (flags.revoke !== undefined) {
      const share = await access.revokeShare(id, flags.revoke);
      output.out(flags.json ? `${JSON.stringify(share)}\n` : `Share ${share.id} is revoked.\n`);
    } else if (flags.list) {
      const shares = await access.shares(id);
      for (const share of shares) output.out(flags.json ? `${JSON.stringify(share)}\n` : shareLine(share));
      if (shares.length === 0 && !flags.json) output.out('No links to this job.\n');
    } else {
      const share = await access.share(id, { expiresIn: flags.expires });
      // A state in this process has no page: the link then fits whatever agent serves it next.
      const link = client.kind === 'remote' ? `${client.where}${share.path}` : share.path;
      if (flags.json) output.out(`${JSON.stringify({ ...share, link })}\n`);
      else {
        output.err(
          `Share ${share.id}: whoever has this link sees this job, read-only, until ${share.expiresAt} at most:\n`,
        );
        output.out(`${link}\n`);
      }
    }
    return exitCodes.done;
  });
}

const shareLine = (share: ShareView): string =>
  row([share.id, 10], [stateOf(share), 23], [`by ${share.createdBy}`, 100]);

export interface AuditFlags extends AccessFlags {
  readonly limit: number;
}

/** `pgsluice audit`: the newest last, as logs are read. */
export function showAudit(context: Context, flags: AuditFlags): Promise<number> {
  const { output } = context;
  return withClient(context, flags, async ({ access }) => {
    const entries = (await access.audit({ limit: flags.limit })).toReversed();
    for (const entry of entries) output.out(flags.json ? `${JSON.stringify(entry)}\n` : auditLine(entry));
    return exitCodes.done;
  });
}

function auditLine({ at, actor, actorName, address, action, subject, status, code }: AuditEntry): string {
  const who = actorName === '' || actorName === actor ? actor : `${actor} (${actorName})`;
  const from = address === '' ? '' : ` from ${address}`;
  const what = `${action}${subject === null ? '' : ` ${subject}`}`;
  return `${at}  ${clean(`${who}${from}: ${what}: ${code ?? 'done'} (${status})`)}\n`;
}
