import { defineConfig } from 'drizzle-kit';

// `npx drizzle-kit generate` writes the next migration from src/store/schema.ts; the agent applies it (src/store/migrate.ts).
export default defineConfig({
  dialect: 'postgresql',
  schema: './src/store/schema.ts',
  out: './migrations',
  migrations: { schema: 'pgsluice', table: 'migrations' },
});
