import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { LogLevel } from '../../../src/contract/event.ts';
import { api, toApiError } from '../api.ts';
import { formatCount, formatPercent, plural } from '../format.ts';
import type { JobSession } from '../job-session.ts';
import type { LogLine } from '../log-buffer.ts';
import { fileNameOf, saveFile } from '../save-file.ts';
import { Icon } from './icon.tsx';
import { LogView } from './log-view.tsx';
import { Select } from './select.tsx';

/** Time in ms that one slice of filtering may take: typing and scrolling go on between two slices. */
const sliceMs = 8;

const levels: readonly { readonly value: LogLevel; readonly label: string }[] = [
  { value: 'debug', label: 'Everything' },
  { value: 'info', label: 'Info and above' },
  { value: 'warn', label: 'Warnings and errors' },
  { value: 'error', label: 'Errors only' },
];

export function LogPanel({ session }: { session: JobSession }) {
  const { log } = session;
  const level = useSignal<LogLevel>('debug');
  const search = useSignal('');
  const follow = useSignal(true);
  const selected = useSignal<LogLine | null>(null);
  /** Counts what `log.step` has done, to show matches as they are found. */
  const filtered = useSignal(0);
  const note = useSignal<string | null>(null);
  const version = session.logVersion.value;

  useEffect(() => {
    log.setFilter({ level: level.value, search: search.value });
    filtered.value += 1;
  }, [level.value, search.value]);

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const slice = (): void => {
      const done = log.step(sliceMs);
      if (log.filtering) filtered.value += 1;
      if (!done) timer = setTimeout(slice);
    };
    slice();
    return () => clearTimeout(timer);
  }, [version, level.value, search.value]);

  const download = async (): Promise<void> => {
    note.value = 'The agent is sending the whole log…';
    try {
      const name = session.model.value.job?.name ?? session.id;
      saveFile(await api.logText(session.id), `pgsluice-${fileNameOf(name)}.log`);
      note.value = null;
    } catch (error) {
      note.value = toApiError(error).message;
    }
  };

  return (
    <section class="panel card log-panel" aria-labelledby="log-title">
      <div class="panel-head">
        <h2 id="log-title">Log</h2>
        <div class="panel-tools">
          <input
            type="search"
            aria-label="Search the log"
            placeholder="Search"
            data-testid="log-search"
            value={search.value}
            onInput={(event) => (search.value = event.currentTarget.value)}
          />
          <Select
            aria-label="Lines to show"
            data-testid="log-level"
            value={level.value}
            options={levels}
            onChange={(value) => (level.value = value)}
          />
          <button
            type="button"
            data-testid="log-follow"
            aria-pressed={follow.value}
            onClick={() => (follow.value = !follow.value)}
          >
            {follow.value ? 'Pause' : 'Follow'}
          </button>
          <button type="button" data-testid="log-download" onClick={() => void download()}>
            <Icon name="down" />
            Download
          </button>
        </div>
      </div>
      <Earlier session={session} onNote={(text) => (note.value = text)} />
      <LogView session={session} version={version + filtered.value} follow={follow} selected={selected} />
      <div class="log-foot">
        <Count session={session} version={version + filtered.value} />
        {note.value !== null && <p role="status">{note.value}</p>}
      </div>
      {selected.value !== null && <Detail line={selected.value} onClose={() => (selected.value = null)} />}
    </section>
  );
}

/** The lines before those in the page, when there are any. */
function Earlier({ session, onNote }: { session: JobSession; onNote: (text: string | null) => void }) {
  const loading = useSignal(false);
  const earlier = session.earlierUpTo;
  const { dropped } = session.log;
  if (earlier === 0) {
    return dropped > 0 ? (
      <p class="muted log-earlier">
        The page holds the newest lines; {plural(dropped, 'older line')} are in the download.
      </p>
    ) : null;
  }
  const load = async (): Promise<void> => {
    loading.value = true;
    try {
      await session.loadEarlier();
      onNote(null);
    } catch (error) {
      onNote(toApiError(error).message);
    } finally {
      loading.value = false;
    }
  };
  return (
    <p class="muted log-earlier">
      Older lines are not loaded.{' '}
      <button type="button" class="small" disabled={loading.value} onClick={() => void load()}>
        {loading.value ? 'Loading…' : 'Load some'}
      </button>
    </p>
  );
}

function Count({ session }: { session: JobSession; version: number }) {
  const { log } = session;
  if (!log.filtering) return <p class="muted">{plural(log.size, 'line')}</p>;
  return (
    <p class="muted">
      {formatCount(log.count)} of {plural(log.size, 'line')}
      {log.filtered < 0.99 && `, searched ${formatPercent(log.filtered)}`}
    </p>
  );
}

/** The whole of one line, which the list shows shortened. */
function Detail({ line, onClose }: { line: LogLine; onClose: () => void }) {
  return (
    <div class="log-detail" role="status">
      <p class="muted">
        {line.at} · {line.level} · event {line.seq}
        <button type="button" class="small" onClick={onClose}>
          Close
        </button>
      </p>
      <pre>{line.message}</pre>
    </div>
  );
}
