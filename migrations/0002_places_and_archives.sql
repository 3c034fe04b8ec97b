CREATE TABLE "pgsluice"."job_acceptances" (
	"job_id" text NOT NULL,
	"check_id" text NOT NULL,
	"side" text NOT NULL,
	"found" text NOT NULL,
	"accepted_by" text NOT NULL,
	"note" text NOT NULL,
	"accepted_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "job_acceptances_job_id_check_id_side_pk" PRIMARY KEY("job_id","check_id","side")
);
--> statement-breakpoint
ALTER TABLE "pgsluice"."jobs" ALTER COLUMN "source" DROP NOT NULL;--> statement-breakpoint
ALTER TABLE "pgsluice"."jobs" ALTER COLUMN "target" DROP NOT NULL;--> statement-breakpoint
ALTER TABLE "pgsluice"."jobs" ADD COLUMN "kind" text DEFAULT 'move' NOT NULL;--> statement-breakpoint
ALTER TABLE "pgsluice"."jobs" ADD COLUMN "archive" text;--> statement-breakpoint
ALTER TABLE "pgsluice"."jobs" ADD COLUMN "group_id" text;--> statement-breakpoint
ALTER TABLE "pgsluice"."jobs" ADD COLUMN "group_name" text;--> statement-breakpoint
ALTER TABLE "pgsluice"."job_acceptances" ADD CONSTRAINT "job_acceptances_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "pgsluice"."jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "jobs_group_id" ON "pgsluice"."jobs" USING btree ("group_id");