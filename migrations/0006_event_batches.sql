CREATE TABLE "pgsluice"."job_event_batches" (
	"job_id" text NOT NULL,
	"first_seq" bigint NOT NULL,
	"last_seq" bigint NOT NULL,
	"at" timestamp with time zone NOT NULL,
	"characters" integer NOT NULL,
	"events" text NOT NULL,
	CONSTRAINT "job_event_batches_job_id_last_seq_pk" PRIMARY KEY("job_id","last_seq"),
	CONSTRAINT "job_event_batches_seq" CHECK ("pgsluice"."job_event_batches"."first_seq" > 0 and "pgsluice"."job_event_batches"."last_seq" >= "pgsluice"."job_event_batches"."first_seq")
);
