import { Client } from 'pg';

/** Three small tables, one of them referring to another, one with a sequence. */
export const faultTables = `CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT g, 'a' || g FROM generate_series(1, 3000) g;
     CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a, v text); INSERT INTO b SELECT g, g, 'b' || g FROM generate_series(1, 3000) g;
     CREATE TABLE z (id bigserial PRIMARY KEY, v text); INSERT INTO z (v) VALUES ('z')`;

/** A session that stands in the way with what `sql` takes, until it is let go. */
export async function obstacle(url: string, sql: string): Promise<{ remove: () => Promise<void> }> {
  const client = new Client({ connectionString: url, application_name: 'in the way' });
  client.on('error', () => undefined);
  await client.connect();
  await client.query(sql);
  return { remove: () => client.end().catch(() => undefined) };
}
