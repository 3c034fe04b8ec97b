CREATE TABLE "pgsluice"."job_hooks" (
	"delivery" text PRIMARY KEY NOT NULL,
	"job_id" text NOT NULL,
	"moment" text NOT NULL,
	"position" integer NOT NULL,
	"state" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
ALTER TABLE "pgsluice"."job_hooks" ADD CONSTRAINT "job_hooks_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "pgsluice"."jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "job_hooks_job_id" ON "pgsluice"."job_hooks" USING btree ("job_id","moment","position");