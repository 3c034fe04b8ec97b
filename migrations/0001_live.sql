ALTER TABLE "pgsluice"."jobs" ADD COLUMN "live" jsonb;--> statement-breakpoint
ALTER TABLE "pgsluice"."jobs" ADD COLUMN "goes_on" boolean DEFAULT false NOT NULL;