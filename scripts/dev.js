// The agent and the page, rebuilt at every change: vite watches src, vite serves web with a proxy to the agent.
import { spawn } from 'node:child_process';

const children = [
  spawn('npx', ['--no-install', 'vite', 'build', '--config', 'vite.agent.config.ts', '--watch'], {
    stdio: 'inherit',
  }),
  spawn(process.execPath, ['--watch', 'bin/pgsluice.js', 'serve'], { stdio: 'inherit' }),
  spawn('npx', ['--no-install', 'vite'], { stdio: 'inherit' }),
];

const stop = () => {
  for (const child of children) child.kill('SIGTERM');
};
process.once('SIGINT', stop);
process.once('SIGTERM', stop);
for (const child of children) child.once('exit', stop);
