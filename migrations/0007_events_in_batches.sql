INSERT INTO "pgsluice"."job_event_batches" ("job_id", "first_seq", "last_seq", "at", "characters", "events")
SELECT job_id, first_seq, last_seq, at, length(events), events FROM (
	SELECT job_id, min(seq) AS first_seq, max(seq) AS last_seq, max(at) AS at, '[' || string_agg(
		(body || jsonb_build_object('seq', seq, 'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))::text,
		',' ORDER BY seq) || ']' AS events
	FROM "pgsluice"."job_events" GROUP BY job_id, (seq - 1) / 500) AS batch;--> statement-breakpoint
DROP TABLE "pgsluice"."job_events" CASCADE;
