import type { JobEventBody } from '../../contract/event.ts';
import { JobRequest } from '../../contract/options.ts';
import type { Verification } from '../../contract/report.ts';
import { PgsluiceError, cancelledError } from '../../errors.ts';
import { verifyOnly } from '../../jobs/verify-only.ts';
import type { Context } from '../context.ts';
import { toJobRequest, type CopyFlags } from '../endpoint-options.ts';
import { emptyResult, exitCodeOf, exitCodeOfResult, exitCodes, toErrorView, type ResultLine } from '../exit.ts';
import { Interrupts } from '../interrupts.ts';
import { differenceLines, errorLines } from '../report-result.ts';
import { formatSeconds, plural } from '../format.ts';
import type { Style } from '../style.ts';
import { clean } from '../text.ts';
import { createViewer } from '../view.ts';
import { isGroup, type GroupFlags } from '../group-options.ts';
import { warnOfPassword } from './clone.ts';
import { verifyGroup } from './group.ts';

/** `pgsluice verify`: compares, in this process, and stores nothing. */
export async function verify(context: Context, flags: Partial<CopyFlags> & GroupFlags): Promise<number> {
  if (isGroup(flags)) return await verifyGroup(context, flags);
  const { output } = context;
  const request = toJobRequest(flags, context.env, false);
  warnOfPassword(context, flags);
  const json = flags.json === true;
  const mode = flags.verify ?? 'full';
  const interrupts = new Interrupts();
  const cancel = new AbortController();
  interrupts.handle((signal) => cancel.abort(cancelledError(`The comparison was ended by ${signal}.`)));
  const viewer = createViewer(output, { json, title: 'Comparing source and target', checks: 'notable' });
  let seq = 0;
  const emit = (body: JobEventBody): void => {
    seq += 1;
    viewer.event({ ...body, seq, at: new Date().toISOString() });
  };
  const compare = async (): Promise<Verification> => {
    emit({
      type: 'phase',
      phase: 'verify',
      status: 'started',
      seconds: null,
      detail: 'Comparing the target with the source.',
    });
    return await verifyOnly({
      request: JobRequest.parse(request),
      pgBinDir: context.env.pgBinDir,
      signal: cancel.signal,
      emit,
    });
  };
  try {
    const verification = await compare();
    viewer.close();
    const result = toResult(verification);
    if (json) output.out(`${JSON.stringify(result)}\n`);
    else for (const line of verificationLines(verification, output.style)) output.out(`${line}\n`);
    return exitCodeOfResult(result, mode);
  } catch (error) {
    // Not one comparison was made: what stands in the way is told like a blocked job.
    if (seq > 1 || exitCodeOf(error) !== exitCodes.failed || !(error instanceof PgsluiceError)) throw error;
    viewer.close();
    const view = toErrorView(error);
    output.err(
      errorLines(view, output.errStyle)
        .map((line) => `${line}\n`)
        .join(''),
    );
    if (json) output.out(`${JSON.stringify(emptyResult('blocked', view))}\n`);
    return exitCodes.blocked;
  } finally {
    viewer.close();
    interrupts.dispose();
  }
}

export function toResult(verification: Verification): ResultLine {
  return {
    ...emptyResult('completed', null),
    verified: verification.verified,
    tables: verification.tables.length,
    rows: verification.tables.reduce((sum, table) => sum + table.sourceRows, 0),
    seconds: verification.seconds,
    differences: verification.differences,
  };
}

export function verificationLines(verification: Verification, style: Style): string[] {
  const rows = verification.tables.reduce((sum, table) => sum + table.sourceRows, 0);
  const compared = [
    `${plural(verification.tables.length, 'table')} with ${plural(rows, 'row')}`,
    plural(verification.objectsCompared, 'object'),
    plural(verification.sequencesCompared, 'sequence'),
    plural(verification.largeObjectsCompared, 'large object'),
  ].join(', ');
  const head = verification.verified
    ? style.green(`✓ Source and target are equal: ${compared}, in ${formatSeconds(verification.seconds)}.`)
    : verification.differences.length > 0
      ? style.red(`✗ ${plural(verification.differences.length, 'difference')} among ${compared}.`)
      : style.red(`✗ Not everything could be compared: ${compared}.`);
  return [
    head,
    ...differenceLines(verification.differences),
    ...verification.notChecked.map((reason) => `  not compared: ${clean(reason)}`),
  ];
}
