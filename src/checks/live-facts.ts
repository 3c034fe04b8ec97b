import { perDatabase } from './database.ts';

/** Settings and use of the source that several live checks look at. */
export interface ServerFacts {
  readonly walLevel: string;
  /** rds.logical_replication and its like, where the provider has one. */
  readonly provider: string | null;
  readonly maxSlots: number;
  readonly slots: number;
  /** Logical slots of this server that nobody uses. */
  readonly idleSlots: readonly string[];
  readonly maxSenders: number;
  readonly senders: number;
  /** output_plugin_libraries; null where the server has no such list. */
  readonly plugins: string | null;
  /** ms */
  readonly senderTimeout: number;
  /** Bytes; null without a limit, and before 13. */
  readonly keepBytes: number | null;
  /** True from 13 on. */
  readonly mayLimit: boolean;
  /** Seconds; null where slots do not go by idling (18 has the setting). */
  readonly idleTimeout: number | null;
}

/** Rows of others in pg_stat_replication are there without their figures, so they can be counted by every role. */
const SERVER = `
WITH s AS (SELECT name, setting, unit FROM pg_settings)
SELECT current_setting('wal_level') AS "walLevel",
  (SELECT name FROM s WHERE name IN ('rds.logical_replication', 'cloudsql.logical_decoding', 'alloydb.logical_decoding') LIMIT 1) AS provider,
  current_setting('max_replication_slots')::int AS "maxSlots", (SELECT count(*) FROM pg_replication_slots)::int AS slots,
  ARRAY(SELECT slot_name::text FROM pg_replication_slots WHERE NOT active ORDER BY 1) AS "idleSlots",
  current_setting('max_wal_senders')::int AS "maxSenders", (SELECT count(*) FROM pg_stat_replication)::int AS senders,
  (SELECT setting FROM s WHERE name = 'output_plugin_libraries') AS plugins,
  (SELECT setting::float8 FROM s WHERE name = 'wal_sender_timeout') AS "senderTimeout",
  (SELECT NULLIF(setting::float8, -1) * 1048576 FROM s WHERE name = 'max_slot_wal_keep_size') AS "keepBytes",
  EXISTS (SELECT FROM s WHERE name = 'max_slot_wal_keep_size') AS "mayLimit",
  (SELECT NULLIF(setting::float8, 0) * CASE unit WHEN 'min' THEN 60 WHEN 'ms' THEN 0.001 ELSE 1 END
   FROM s WHERE name = 'idle_replication_slot_timeout') AS "idleTimeout"`;

export const readServer = perDatabase((database) => database.one<ServerFacts & Record<string, unknown>>(SERVER));
