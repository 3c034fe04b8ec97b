import { createOutput } from './output.ts';
import { main } from './run.ts';

const output = createOutput(process, process.env);
const code = await main(process.argv.slice(2), process.env, output);
await output.flush();
// Nothing that is still open may keep a finished command alive.
process.exit(code);
