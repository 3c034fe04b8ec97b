#!/usr/bin/env node
// The compiled command line. `npm ci` builds it through the prepare script.
import('../dist/agent/main.js').catch((error) => {
  if (error?.code === 'ERR_MODULE_NOT_FOUND' && String(error.message).includes('dist/agent/main.js')) {
    process.stderr.write('pgsluice is not built yet. Run: npm run build\n');
  } else {
    process.stderr.write(`pgsluice could not start: ${error?.message ?? error}\n`);
  }
  process.exitCode = 1;
});
