ALTER TABLE "pgsluice"."jobs" ADD COLUMN "calls" text;--> statement-breakpoint
ALTER TABLE "pgsluice"."jobs" ADD COLUMN "passwords_forgotten_at" timestamp with time zone;