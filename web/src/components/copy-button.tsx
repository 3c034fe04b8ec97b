import { useSignal } from '@preact/signals';
import { Icon } from './icon.tsx';

/** Copies `text`; says so in words, and what to do where the browser refuses. */
export function CopyButton({ text, what }: { text: string; what: string }) {
  const said = useSignal<'idle' | 'copied' | 'refused'>('idle');
  const copy = async (): Promise<void> => {
    said.value = (await copyText(text)) ? 'copied' : 'refused';
    setTimeout(() => {
      said.value = 'idle';
    }, 2500);
  };
  return (
    <button type="button" class="small copy" onClick={() => void copy()}>
      <Icon name={said.value === 'copied' ? 'check' : 'copy'} />
      <span aria-live="polite">
        {said.value === 'idle' && 'Copy'}
        {said.value === 'copied' && 'Copied'}
        {said.value === 'refused' && 'Select and copy by hand'}
      </span>
      <span class="visually-hidden"> {what}</span>
    </button>
  );
}

/** Over plain http to another machine browsers offer no clipboard object; the selection still copies there. */
async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    area.className = 'visually-hidden';
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}

/** Text to paste somewhere, with its button. */
export function CopyBlock({ text, what }: { text: string; what: string }) {
  return (
    <div class="copy-block">
      {/* Scrollable, so it has to be reachable by keyboard. */}
      <pre tabIndex={0} aria-label={what}>
        {text}
      </pre>
      <CopyButton text={text} what={what} />
    </div>
  );
}
