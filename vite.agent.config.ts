import { defineConfig } from 'vite';

// The agent as few files: nine hundred small ones took twice as long to find and read as the program needs for a small database.
// Not minified, so that what a debug log tells has names.
export default defineConfig({
  publicDir: false,
  build: {
    ssr: 'src/cli/main.ts',
    // As deep below package.json as src/cli: paths relative to a module mean the same in both.
    outDir: 'dist/agent',
    emptyOutDir: true,
    target: 'node20',
    minify: false,
    rolldownOptions: { output: { chunkFileNames: '[name]-[hash].js' } },
    license: { fileName: 'licenses.md' },
  },
  ssr: {
    noExternal: true,
    // Reads its files from beside itself; and what a driver looks for and does without.
    external: ['@electric-sql/pglite', 'pg-native', 'bufferutil', 'utf-8-validate'],
  },
});
