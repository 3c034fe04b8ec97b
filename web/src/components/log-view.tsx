import type { Signal } from '@preact/signals';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { formatClock } from '../format.ts';
import type { JobSession } from '../job-session.ts';
import type { LogLine } from '../log-buffer.ts';

/** Heights of a line in px; the narrow one has room for two lines of text. The style sheet has the same figures. */
const wideRow = 24;
const narrowRow = 46;
const narrowBelow = 560;
const overscan = 12;

interface LogViewProps {
  readonly session: JobSession;
  /** Changes with every change of what the log shows. */
  readonly version: number;
  readonly follow: Signal<boolean>;
  readonly selected: Signal<LogLine | null>;
}

/**
 * The log's window onto its lines. Every line has the same height, so that appending costs nothing per line held: a
 * measuring list walks over all 200,000 of them for each batch.
 */
export function LogView({ session, version, follow, selected }: LogViewProps) {
  const { log } = session;
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 400, width: 800 });
  const rowHeight = view.width < narrowBelow ? narrowRow : wideRow;
  const count = log.count;
  const total = count * rowHeight;
  const top = follow.value ? Math.max(0, total - view.height) : view.top;
  const first = Math.max(0, Math.floor(top / rowHeight) - overscan);
  const last = Math.min(count, Math.ceil((top + view.height) / rowHeight) + overscan);
  const anchor = useRef({ seq: log.oldestSeq ?? 0, dropped: log.dropped, size: log.size });

  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    const observer = new ResizeObserver(() =>
      setView((old) => ({ ...old, height: element.clientHeight, width: element.clientWidth })),
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    const before = anchor.current;
    anchor.current = { seq: log.oldestSeq ?? 0, dropped: log.dropped, size: log.size };
    if (follow.value) {
      element.scrollTop = element.scrollHeight;
      return;
    }
    // Lines given up or added in front must not move those a person is reading. Only exact without a filter.
    const unfiltered = log.count === log.size;
    const shift =
      log.dropped - before.dropped > 0
        ? before.dropped - log.dropped
        : (log.oldestSeq ?? 0) < before.seq
          ? log.size - before.size
          : 0;
    if (unfiltered && shift !== 0) element.scrollTop += shift * rowHeight;
  }, [version, follow.value, rowHeight]);

  const onScroll = (): void => {
    const element = box.current;
    if (element === null) return;
    const atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - rowHeight;
    if (follow.value && element.scrollTop < view.top && !atEnd) follow.value = false;
    setView((old) => ({ ...old, top: element.scrollTop }));
  };

  /** Arrow keys walk from line to line; Page, Home and End scroll as the browser does. */
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === 'Escape') selected.value = null;
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    event.preventDefault();
    const element = box.current;
    if (element === null || count === 0) return;
    follow.value = false;
    const index = nextIndex(selected.value, event.key === 'ArrowDown' ? 1 : -1);
    selected.value = log.at(index) ?? null;
    const start = index * rowHeight;
    if (start < element.scrollTop) element.scrollTop = start;
    else if (start + rowHeight > element.scrollTop + element.clientHeight) {
      element.scrollTop = start + rowHeight - element.clientHeight;
    }
  };

  const nextIndex = (line: LogLine | null, step: number): number => {
    const current = line === null ? -1 : indexOfSeq(session, line.seq);
    if (current < 0) return step > 0 ? Math.ceil(top / rowHeight) : Math.min(count - 1, last - overscan);
    return Math.min(count - 1, Math.max(0, current + step));
  };

  const rows = [];
  for (let index = first; index < last; index += 1) {
    const line = log.at(index);
    if (line) rows.push(<Row key={line.seq} line={line} top={index * rowHeight} selected={selected} />);
  }
  return (
    <div
      class="log"
      data-testid="log"
      role="log"
      aria-live="off"
      aria-label="Log lines; arrow keys show a line in full"
      tabIndex={0}
      ref={box}
      onScroll={onScroll}
      onKeyDown={onKeyDown}
    >
      <div class="virtual-space" style={{ height: `${total}px` }}>
        {rows}
      </div>
      {count === 0 && <p class="muted empty">{log.size === 0 ? 'No line yet.' : 'No line fits the filter.'}</p>}
    </div>
  );
}

/** Position of the line among those shown: they are in the order of seq, so halving finds it. */
function indexOfSeq(session: JobSession, seq: number): number {
  let low = 0;
  let high = session.log.count - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const found = session.log.at(middle)?.seq ?? Number.POSITIVE_INFINITY;
    if (found === seq) return middle;
    if (found < seq) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

function Row({ line, top, selected }: { line: LogLine; top: number; selected: Signal<LogLine | null> }) {
  return (
    <div
      class={`log-line level-${line.level}`}
      data-testid="log-line"
      data-seq={line.seq}
      data-selected={selected.value?.seq === line.seq ? '' : undefined}
      style={{ transform: `translateY(${top}px)` }}
      onClick={() => (selected.value = line)}
    >
      <span class="log-time">{formatClock(line.at)}</span>
      <span class="log-level">{line.level}</span>
      <span class="log-message">{line.message}</span>
    </div>
  );
}
