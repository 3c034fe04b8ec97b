import type { ErrorView } from '../../../src/contract/event.ts';
import { statementOf } from '../statement.ts';
import { CopyBlock } from './copy-button.tsx';
import { Icon } from './icon.tsx';

/** Why a live job paused by itself: what a person has to run stands apart, ready to be copied, and then Resume goes on. */
export function PausedNote({ problem }: { problem: ErrorView }) {
  const found = statementOf(problem.hint);
  return (
    <div class="note tone-warn" role="alert" data-testid="paused">
      <p class="note-title">
        <Icon name="warn" />
        The migration waits for you
      </p>
      <p>{problem.message}</p>
      {found === null ? (
        problem.hint !== '' && <p class="hint">{problem.hint}</p>
      ) : (
        <>
          {found.before !== '' && <p class="hint">{found.before}</p>}
          <CopyBlock text={found.statement} what="the statement to run" />
          {found.after !== '' && <p class="hint">{found.after}</p>}
        </>
      )}
      <p class="muted">
        The source keeps every change for the target meanwhile. Resume goes on from here, and nothing is lost.
      </p>
      <p class="code">{problem.code}</p>
    </div>
  );
}
