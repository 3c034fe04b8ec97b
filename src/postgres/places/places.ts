import { quoteIdent } from '../quote.ts';
import { aiven } from './aiven.ts';
import { aurora } from './aurora.ts';
import { azure } from './azure.ts';
import { cloudSql } from './cloud-sql.ts';
import { digitalocean } from './digitalocean.ts';
import { elestio } from './elestio.ts';
import { gigalixir } from './gigalixir.ts';
import { heroku } from './heroku.ts';
import { neon } from './neon.ts';
import { plain } from './plain.ts';
import { rds } from './rds.ts';
import { render } from './render.ts';
import { scalingo } from './scalingo.ts';
import { supabase } from './supabase.ts';
import type { Need, Place } from './types.ts';

/** In the order in which they are asked: those whose names are part of another's come first. */
export const places: readonly Place[] = [
  gigalixir,
  scalingo,
  elestio,
  aurora,
  rds,
  azure,
  cloudSql,
  supabase,
  neon,
  aiven,
  digitalocean,
  render,
  heroku,
];

/** What a server shows of where it runs. */
export interface PlaceSigns {
  readonly host: string;
  readonly port: number;
  /** Names of settings that some place has for its own; empty when the server was not asked. */
  readonly settings: readonly string[];
  /** Names of roles that some place has for its own. */
  readonly roles: readonly string[];
}

/**
 * The host's name tells most, because a place may be built on another one; then settings, then roles. Pure.
 * @returns `plain` for whatever is not known.
 */
export function recognisePlace({ host, settings, roles }: PlaceSigns): Place {
  const name = host.replace(/\.$/, '');
  return (
    places.find((place) => place.hosts.some((pattern) => pattern.test(name))) ??
    places.find((place) => place.settings.some((prefix) => settings.some((setting) => setting.startsWith(prefix)))) ??
    places.find((place) => place.roles.some((role) => roles.includes(role))) ??
    plain
  );
}

/** As far as its host's name tells, for a server that was not reached. Pure. */
export const placeOfHost = (host: string): Place => recognisePlace({ host, port: 0, settings: [], roles: [] });

/** Roles and setting prefixes by which places are told, for the one query that looks for them. */
export const placeRoles: readonly string[] = [...new Set(places.flatMap((place) => place.roles))];
export const placeSettings: readonly string[] = [...new Set(places.flatMap((place) => place.settings))];

/** Names that a place's words leave open; each is written as an identifier. */
export interface WordValues {
  readonly role?: string;
  readonly database?: string;
  readonly extension?: string;
}

/**
 * A check's remedy in the words of the place where it has to be done. Where the place says nothing of it, or its words name
 * something that is not given, the generic remedy stays. Pure.
 */
export function remedyAt(place: Place, need: Need, generic: string, values: WordValues = {}): string {
  const fact = place.words[need];
  if (fact === undefined) return generic;
  let open = false;
  const says = fact.says.replaceAll(/\{(role|database|extension)\}/g, (whole, key: keyof WordValues) => {
    const value = values[key];
    open ||= value === undefined;
    return value === undefined ? whole : quoteIdent(value);
  });
  return open ? generic : `-- ${place.name}:\n${says}`;
}

/** Its name, or null where it is not known. Pure. */
export const placeName = (place: Place): string | null => (place.id === plain.id ? null : place.name);
