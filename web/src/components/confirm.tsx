import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

interface ConfirmProps {
  readonly title: string;
  readonly children: ComponentChildren;
  readonly yes: string;
  readonly no: string;
  readonly testId: string;
  readonly onYes: () => void;
  readonly onNo: () => void;
}

/** Asks once before what cannot be undone. Escape and the first button keep things as they are. */
export function Confirm({ title, children, yes, no, testId, onYes, onNo }: ConfirmProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  return (
    <dialog ref={dialog} aria-label={title} onClose={onNo}>
      <h2>{title}</h2>
      <p>{children}</p>
      <div class="actions">
        <button type="button" onClick={onNo}>
          {no}
        </button>
        <button type="button" class="danger" data-testid={testId} onClick={onYes}>
          {yes}
        </button>
      </div>
    </dialog>
  );
}
