import { matchesAny } from './filters.ts';
import type { Session } from './session.ts';

/** An extension as it stands in a database. */
export interface InstalledExtension {
  readonly name: string;
  readonly version: string;
  readonly schema: string;
  /** ALTER EXTENSION … SET SCHEMA is possible. */
  readonly relocatable: boolean;
}

/** One version that CREATE EXTENSION can make, reached by update scripts where need be. */
export interface OfferedVersion {
  readonly version: string;
  /** True: the script needs a superuser, unless it is trusted. */
  readonly superuser: boolean;
  /** True (13 and newer): whoever may create in the database may install it. */
  readonly trusted: boolean;
}

/** An extension as a server offers it. */
export interface OfferedExtension {
  readonly name: string;
  readonly defaultVersion: string;
  /** Null where it is not installed in the database. */
  readonly installed: (InstalledExtension & { readonly ours: boolean }) | null;
  readonly versions: readonly OfferedVersion[];
  /** Versions from which update scripts lead to the default one. */
  readonly updatable: readonly string[];
}

/** How one extension of the source arrives. */
export interface ExtensionPlan {
  readonly name: string;
  /** Named in CREATE EXTENSION; null leaves it to the server's default. */
  readonly version: string | null;
  /** True: ALTER EXTENSION … UPDATE once everything is in. */
  readonly update: boolean;
  /** Why it arrives in another version than the source's; '' where it does not. */
  readonly note: string;
}

/** The parts of a version that is digits, dots and dashes; null for any other. */
function numbers(text: string): number[] | null {
  const parts = text.split(/[.-]/);
  return parts.every((part) => /^\d+$/.test(part)) ? parts.map(Number) : null;
}

/** Below 0: `a` is older. 0 when equal or not comparable: version texts are free (PostgreSQL documentation, 36.17). */
export function compareExtensionVersions(a: string, b: string): number {
  const left = numbers(a);
  const right = numbers(b);
  if (left === null || right === null) return 0;
  for (let i = 0; i < Math.max(left.length, right.length); i += 1) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** True where the two may be put in an order. */
function comparable(a: string, b: string): boolean {
  return numbers(a) !== null && numbers(b) !== null;
}

/**
 * Which version of the source's extension this server would install: the very same, else the nearest above it; where versions
 * are no numbers, the default one. Null when all it has are older. Pure.
 */
export function versionToInstall(version: string, offer: OfferedExtension): string | null {
  if (offer.versions.some((one) => one.version === version)) return version;
  const above = offer.versions
    .filter((one) => comparable(one.version, version) && compareExtensionVersions(one.version, version) >= 0)
    .toSorted((a, b) => compareExtensionVersions(a.version, b.version));
  const [nearest] = above;
  if (nearest !== undefined) return nearest.version;
  return comparable(offer.defaultVersion, version) ? null : offer.defaultVersion;
}

/** What becomes of the source's extensions; those that the server does not offer are the validation's to name. Pure. */
export function planExtensions(
  source: readonly InstalledExtension[],
  offered: readonly OfferedExtension[],
  mode: 'source' | 'newest',
): ExtensionPlan[] {
  const offers = new Map(offered.map((offer) => [offer.name, offer]));
  return source
    .filter((extension) => extension.name !== 'plpgsql')
    .map(({ name, version }) => {
      const offer = offers.get(name);
      if (offer === undefined) return { name, version: null, update: false, note: '' };
      const chosen = offer.installed?.version ?? versionToInstall(version, offer);
      const update =
        mode === 'newest' &&
        chosen !== null &&
        chosen !== offer.defaultVersion &&
        offer.updatable.includes(chosen) &&
        offer.installed?.ours !== false;
      const where =
        offer.installed === null
          ? 'the target does not offer that version'
          : 'the target had it before in that version';
      const note =
        chosen === null || chosen === version
          ? ''
          : `Extension ${name} is ${version} on the source and arrives as ${chosen}: ${where}.`;
      return { name, version: offer.installed === null ? chosen : null, update, note };
    });
}

/** True when the globs leave this extension out, with what depends on it. */
export function isExcludedExtension(globs: readonly string[], name: string): boolean {
  return name !== 'plpgsql' && matchesAny(globs, name);
}

const INSTALLED = `
SELECT e.extname::text AS name, e.extversion AS version, n.nspname::text AS schema, e.extrelocatable AS relocatable
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY e.extname`;

export function readInstalled(session: Session): Promise<InstalledExtension[]> {
  return session.query<InstalledExtension & Record<string, unknown>>(INSTALLED);
}

/** `trusted` is read through jsonb because it exists from 13 on only. */
const OFFERED = `
SELECT a.name::text AS name, a.default_version AS "defaultVersion",
       (SELECT json_build_object('name', e.extname, 'version', e.extversion, 'schema', n.nspname,
                 'relocatable', e.extrelocatable, 'ours', pg_has_role(e.extowner, 'USAGE'))
        FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = a.name) AS installed,
       COALESCE((SELECT json_agg(json_build_object('version', v.version, 'superuser', v.superuser,
                 'trusted', COALESCE((to_jsonb(v)->>'trusted')::boolean, false)))
        FROM pg_available_extension_versions v WHERE v.name = a.name), '[]') AS versions,
       COALESCE((SELECT json_agg(p.source) FROM pg_extension_update_paths(a.name) p
        WHERE p.target = a.default_version AND p.path IS NOT NULL), '[]') AS updatable
FROM pg_available_extensions a WHERE a.name = ANY ($1)`;

/** What the server has of the extensions of these names. */
export function readOffered(session: Session, names: readonly string[]): Promise<OfferedExtension[]> {
  return session.query<OfferedExtension & Record<string, unknown>>(OFFERED, [names]);
}
