import { describe, expect, test } from 'vitest';
import { placeName, placeOfHost, places, recognisePlace, remedyAt } from './places.ts';
import { needs } from './types.ts';

const byHost = (host: string): string => placeOfHost(host).id;
const bySigns = (signs: { settings?: string[]; roles?: string[] }): string =>
  recognisePlace({ host: '10.0.0.5', port: 5432, settings: [], roles: [], ...signs }).id;

test('each place is told by the names it gives to its databases', () => {
  const known: Record<string, string> = {
    'postgres-free-tier-v2020.gigalixir.com': 'gigalixir',
    'my-app-4553.postgresql.a.osc-fr1.scalingo-dbs.com': 'scalingo',
    'my-app-4553.postgresql.dbs.scalingo.com': 'scalingo',
    'postgres-u1.vm.elestio.app': 'elestio',
    'shop.cabc123.eu-west-1.rds.amazonaws.com': 'rds',
    'shop.cluster-cabc123.eu-west-1.rds.amazonaws.com': 'aurora',
    'shop.cluster-ro-cabc123.eu-west-1.rds.amazonaws.com': 'aurora',
    'shop.postgres.database.azure.com': 'azure',
    'db.abcdefgh.supabase.co': 'supabase',
    'aws-0-eu-central-1.pooler.supabase.com': 'supabase',
    'ep-cool-1-pooler.eu-central-1.aws.neon.tech': 'neon',
    'pg-1-shop.a.aivencloud.com': 'aiven',
    'db-do-user-1-0.b.db.ondigitalocean.com': 'digitalocean',
    'dpg-abc-a.frankfurt-postgres.render.com': 'render',
    'SHOP.CABC123.eu-west-1.RDS.amazonaws.com.': 'rds',
  };
  for (const [host, id] of Object.entries(known)) expect([host, byHost(host)]).toEqual([host, id]);
});

test('names that only look alike are not taken for a place', () => {
  for (const host of ['localhost', '/run/postgresql', '10.0.0.5', 'rds.amazonaws.com.example.org', 'notneon.tech', ''])
    expect([host, byHost(host)]).toEqual([host, 'plain']);
});

test('behind an address of its own a server is told by its settings, then by its roles', () => {
  expect(bySigns({ settings: ['rds.extensions'] })).toBe('rds');
  expect(bySigns({ settings: ['cloudsql.logical_decoding'] })).toBe('cloud-sql');
  expect(bySigns({ settings: ['azure.extensions'] })).toBe('azure');
  expect(bySigns({ settings: ['neon.timeline_id'] })).toBe('neon');
  expect(bySigns({ roles: ['heroku_admin'] })).toBe('heroku');
  expect(bySigns({ roles: ['supabase_admin'] })).toBe('supabase');
  expect(bySigns({ roles: ['app'] })).toBe('plain');
  // What the name says wins: Gigalixir's standard tier runs on Cloud SQL.
  const onCloudSql = { host: 'db.gigalixir.com', port: 5432, settings: ['cloudsql.x'], roles: ['cloudsqlsuperuser'] };
  expect(recognisePlace(onCloudSql).id).toBe('gigalixir');
});

describe('remedies', () => {
  const rds = placeOfHost('a.b.eu-west-1.rds.amazonaws.com');
  const azure = placeOfHost('a.postgres.database.azure.com');
  test('come in the words of the place, with names quoted', () => {
    expect(remedyAt(rds, 'replication-right', 'generic', { role: 'my app' })).toBe(
      '-- Amazon RDS:\nGRANT rds_replication TO "my app"; -- as the master user',
    );
    expect(remedyAt(azure, 'create-extension', 'generic', { extension: 'postgis' })).toContain('azure.extensions');
  });
  test('stay as they are where the place says nothing, or its words name what is not known', () => {
    expect(remedyAt(rds, 'disk', 'generic')).toBe('generic');
    expect(remedyAt(rds, 'replication-right', 'generic')).toBe('generic');
    for (const need of needs) expect(remedyAt(placeOfHost('localhost'), need, 'generic')).toBe('generic');
  });
});

test('every fact names its source and a day, and no two places share an id', () => {
  for (const place of places) {
    const facts = [...place.limits, ...Object.values(place.words), place.adminRole, place.restarts].filter(
      (fact) => fact !== undefined,
    );
    for (const { says, from } of facts) {
      expect(says).not.toBe('');
      expect(from.title).not.toBe('');
      expect(from.date).toMatch(/^20\d\d-\d\d-\d\d$/);
    }
  }
  expect(new Set(places.map(({ id }) => id)).size).toBe(places.length);
  expect(placeName(placeOfHost('localhost'))).toBeNull();
});
