CREATE SCHEMA IF NOT EXISTS "pgsluice";
--> statement-breakpoint
CREATE TABLE "pgsluice"."agents" (
	"id" text PRIMARY KEY NOT NULL,
	"host" text NOT NULL,
	"pid" integer NOT NULL,
	"scope" text NOT NULL,
	"process_start" text,
	"role" text NOT NULL,
	"started_at" timestamp with time zone DEFAULT now() NOT NULL,
	"heartbeat_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "pgsluice"."job_checks" (
	"job_id" text NOT NULL,
	"check_id" text NOT NULL,
	"side" text NOT NULL,
	"position" integer NOT NULL,
	"result" jsonb NOT NULL,
	CONSTRAINT "job_checks_job_id_check_id_side_pk" PRIMARY KEY("job_id","check_id","side")
);
--> statement-breakpoint
CREATE TABLE "pgsluice"."job_events" (
	"job_id" text NOT NULL,
	"seq" bigint NOT NULL,
	"at" timestamp with time zone NOT NULL,
	"type" text NOT NULL,
	"level" text,
	"body" jsonb NOT NULL,
	CONSTRAINT "job_events_job_id_seq_pk" PRIMARY KEY("job_id","seq"),
	CONSTRAINT "job_events_seq_positive" CHECK ("pgsluice"."job_events"."seq" > 0)
);
--> statement-breakpoint
CREATE TABLE "pgsluice"."job_reports" (
	"job_id" text PRIMARY KEY NOT NULL,
	"report" jsonb NOT NULL,
	"written_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "pgsluice"."job_tables" (
	"job_id" text NOT NULL,
	"schema_name" text NOT NULL,
	"table_name" text NOT NULL,
	"progress" jsonb NOT NULL,
	CONSTRAINT "job_tables_job_id_schema_name_table_name_pk" PRIMARY KEY("job_id","schema_name","table_name")
);
--> statement-breakpoint
CREATE TABLE "pgsluice"."jobs" (
	"id" text PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"state" text NOT NULL,
	"phase" text,
	"source" text NOT NULL,
	"target" text NOT NULL,
	"options" jsonb NOT NULL,
	"totals" jsonb NOT NULL,
	"verified" boolean DEFAULT false NOT NULL,
	"differences" integer DEFAULT 0 NOT NULL,
	"error" jsonb,
	"owner_id" text,
	"held" boolean DEFAULT false NOT NULL,
	"target_touched" boolean DEFAULT false NOT NULL,
	"last_seq" bigint DEFAULT 0 NOT NULL,
	"snapshot_at" timestamp with time zone,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"started_at" timestamp with time zone,
	"finished_at" timestamp with time zone,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "pgsluice"."meta" (
	"key" text PRIMARY KEY NOT NULL,
	"value" text NOT NULL
);
--> statement-breakpoint
ALTER TABLE "pgsluice"."job_checks" ADD CONSTRAINT "job_checks_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "pgsluice"."jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "pgsluice"."job_reports" ADD CONSTRAINT "job_reports_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "pgsluice"."jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "pgsluice"."job_tables" ADD CONSTRAINT "job_tables_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "pgsluice"."jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "jobs_created_at" ON "pgsluice"."jobs" USING btree ("created_at");