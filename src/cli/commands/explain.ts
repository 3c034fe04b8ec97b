import type { JobEventBody } from '../../contract/event.ts';
import { JobRequest } from '../../contract/options.ts';
import { PgsluiceError, cancelledError } from '../../errors.ts';
import { explain as explainJob } from '../../jobs/explain.ts';
import type { Context } from '../context.ts';
import { toJobRequest, type CopyFlags } from '../endpoint-options.ts';
import { atLeast } from '../event-lines.ts';
import { emptyResult, exitCodes } from '../exit.ts';
import { explanationLines } from '../explanation-lines.ts';
import { isGroup, type GroupFlags } from '../group-options.ts';
import { Interrupts } from '../interrupts.ts';
import { errorLines } from '../report-result.ts';
import { createViewer } from '../view.ts';
import { warnOfPassword } from './clone.ts';

/** `pgsluice clone --explain`: validates in this process, prints the plan of the clone with its estimate, and stores nothing. */
export async function explain(context: Context, flags: CopyFlags & GroupFlags): Promise<number> {
  if (isGroup(flags)) {
    throw new PgsluiceError({
      code: 'USAGE',
      message: '--explain shows the plan of one database.',
      hint: 'Leave out --databases and --all-databases, and name the database in both URLs.',
    });
  }
  const { output } = context;
  const request = JobRequest.parse(toJobRequest(flags, context.env, false));
  warnOfPassword(context, flags);
  const json = flags.json === true;
  const interrupts = new Interrupts();
  const cancel = new AbortController();
  interrupts.handle((signal) => cancel.abort(cancelledError(`The command was ended by ${signal}.`)));
  const viewer = json ? null : createViewer(output, { json, title: 'Explaining the clone', checks: 'notable' });
  let seq = 0;
  const emit = (body: JobEventBody): void => {
    // What a clone tells of its steps is no part of a plan.
    if (body.type === 'log' && !atLeast(body.level, 'warn')) return;
    seq += 1;
    viewer?.event({ ...body, seq, at: new Date().toISOString() });
  };
  try {
    const { explanation, error } = await explainJob({
      request,
      pgBinDir: context.env.pgBinDir,
      signal: cancel.signal,
      emit,
    });
    viewer?.close();
    if (explanation === null) {
      const view = error === null ? null : { code: error.code, message: error.message, hint: error.hint };
      if (json) output.out(`${JSON.stringify(emptyResult('blocked', view))}\n`);
      else output.err(errorLines(view, output.errStyle).join('\n') + '\n');
      return exitCodes.blocked;
    }
    if (json) output.out(`${JSON.stringify(explanation)}\n`);
    else output.out(explanationLines(explanation, output.style).join('\n') + '\n');
    return exitCodes.done;
  } finally {
    viewer?.close();
    interrupts.dispose();
  }
}
