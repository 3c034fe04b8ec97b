import type { JobView } from '../../src/contract/job.ts';
import type { GroupRequestInput } from '../../src/contract/group.ts';
import type { JobKind, JobRequestInput } from '../../src/contract/options.ts';
import {
  emptyEndpoint,
  endpointProblems,
  fromEndpointView,
  toEndpointInput,
  type EndpointField,
  type EndpointForm,
} from './endpoint.ts';
import { defaultOptions, fromOptions, toOptions, type OptionsForm } from './job-options.ts';
import { splitLines } from './lines.ts';
import { optionsProblems, type OptionProblems } from './option-problems.ts';

export interface DatabasesForm {
  readonly scope: 'one' | 'all' | 'list';
  /** Names, one a line. */
  readonly list: string;
}

/** All that the form of a new job holds. What does not belong to `kind` is kept, but neither shown nor sent. */
export interface Draft {
  readonly name: string;
  readonly kind: JobKind;
  readonly archive: string;
  readonly source: EndpointForm;
  readonly target: EndpointForm;
  readonly databases: DatabasesForm;
  readonly options: OptionsForm;
}

export const emptyDraft: Draft = {
  name: '',
  kind: 'move',
  archive: '',
  source: emptyEndpoint,
  target: emptyEndpoint,
  databases: { scope: 'one', list: '' },
  options: defaultOptions,
};

/** The settings of an earlier job; its passwords never left the agent. */
export function draftOf(job: JobView): Draft {
  return {
    ...emptyDraft,
    name: job.name,
    kind: job.kind,
    archive: job.archive ?? '',
    source: job.source === null ? emptyEndpoint : fromEndpointView(job.source),
    target: job.target === null ? emptyEndpoint : fromEndpointView(job.target),
    options: fromOptions(job.options),
  };
}

export interface DraftProblems {
  readonly source: Partial<Record<EndpointField, string>>;
  readonly target: Partial<Record<EndpointField, string>>;
  readonly archive?: string;
  readonly databases?: string;
  readonly options: OptionProblems;
}

export const noProblems: DraftProblems = { source: {}, target: {}, options: {} };

export function draftProblems(draft: Draft): DraftProblems {
  const { kind, databases } = draft;
  const empty = kind === 'move' && databases.scope === 'list' && splitLines(databases.list).length === 0;
  return {
    source: kind === 'import' ? {} : endpointProblems(draft.source),
    target: kind === 'export' ? {} : endpointProblems(draft.target),
    ...(kind !== 'move' && draft.archive.trim() === '' ? { archive: 'Name the path.' } : {}),
    ...(empty ? { databases: 'Name at least one database.' } : {}),
    options: optionsProblems(draft.options, kind),
  };
}

export function hasProblems({ source, target, options, archive, databases }: DraftProblems): boolean {
  const groups = [source, target, options];
  return archive !== undefined || databases !== undefined || groups.some((group) => Object.keys(group).length > 0);
}

/** What the agent is asked to make: one job, or several under one plan. */
export type Order =
  | { readonly makes: 'job'; readonly request: JobRequestInput }
  | { readonly makes: 'group'; readonly request: GroupRequestInput };

export function toOrder(draft: Draft): Order {
  const { kind, databases } = draft;
  const name = draft.name.trim() === '' ? {} : { name: draft.name.trim() };
  const options = toOptions(draft.options, kind);
  if (kind === 'move' && databases.scope !== 'one') {
    const request = {
      ...name,
      source: toEndpointInput(draft.source),
      target: toEndpointInput(draft.target),
      databases: databases.scope === 'all' ? ('all' as const) : [...new Set(splitLines(databases.list))],
      options,
    };
    return { makes: 'group', request };
  }
  const request = {
    ...name,
    kind,
    ...(kind === 'import' ? {} : { source: toEndpointInput(draft.source) }),
    ...(kind === 'export' ? {} : { target: toEndpointInput(draft.target) }),
    ...(kind === 'move' ? {} : { archive: { path: draft.archive.trim() } }),
    options,
  };
  return { makes: 'job', request };
}
