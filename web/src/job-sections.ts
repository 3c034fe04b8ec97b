import type { JobView } from '../../src/contract/job.ts';

/** Jobs under one heading: those that were made together, or the others made about then. */
export interface JobSection {
  /** null: jobs of their own. */
  readonly group: { readonly id: string; readonly name: string } | null;
  readonly jobs: readonly JobView[];
}

/** The list of jobs in its order, newest first: a group stands where its newest job would, with its members together. */
export function sectionsOf(jobs: readonly JobView[]): JobSection[] {
  const sections: { group: JobSection['group']; jobs: JobView[] }[] = [];
  const groups = new Map<string, JobView[]>();
  for (const job of jobs.toSorted((a, b) => b.createdAt.localeCompare(a.createdAt))) {
    const known = job.group === null ? undefined : groups.get(job.group.id);
    const last = sections.at(-1);
    if (known !== undefined) known.push(job);
    else if (job.group !== null) {
      const members = [job];
      groups.set(job.group.id, members);
      sections.push({ group: job.group, jobs: members });
    } else if (last !== undefined && last.group === null) last.jobs.push(job);
    else sections.push({ group: null, jobs: [job] });
  }
  return sections;
}
